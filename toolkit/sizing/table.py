"""A sizing as lines for a terminal, and as a table with a picture for a notebook. Pure; every
value is escaped."""

import textwrap
from collections.abc import Iterator

from toolkit.sizing.result import GPUFit, Quantity, Sizing
from toolkit.tables import html_table

_SHOWN_GPUS = 8
_SHOWN_BARS = 4
_REASON_WIDTH = 72


def table(sizing: Sizing) -> Iterator[str]:
    """The lines for a person: what it is, what it takes, what to ask for, what to type."""
    count = f"{sizing.parameters / 1e9:.2f}B parameters"
    yield f"{sizing.model}: {sizing.architecture}, {count}, {sizing.precision}"
    yield f"{sizing.engine}, {sizing.parallel} requests of {sizing.context} tokens at once"
    yield ""
    yield from _rows(sizing)
    yield ""
    yield from _gpu_rows(sizing)
    for remark in sizing.remarks:
        yield f"note: {remark}"
    if sizing.engine == "vllm":
        yield f"vLLM's options: {' '.join(sizing.arguments)}"
    yield "Next:"
    yield f"  {sizing.next}"


def _rows(sizing: Sizing) -> Iterator[str]:
    yield from _row("weights", sizing.weights.text, sizing.weights.reason)
    yield from _row("cache", sizing.cache.text, sizing.cache.reason)
    per_token = sizing.cache_per_token
    yield from _row("  a token", f"{per_token.bytes / 1024:.0f} KiB", per_token.reason)
    yield from _row("buffers", sizing.compute.text, sizing.compute.reason)
    yield from _row("overhead", sizing.overhead.text, sizing.overhead.reason)
    yield ""
    yield from _row("memory", sizing.memory.text, sizing.memory.reason)
    if sizing.shm.bytes:
        yield from _row("/dev/shm", sizing.shm.text, sizing.shm.reason)  # noqa: S108 (its name)
    yield from _row("storage", sizing.storage.text, sizing.storage.reason)
    yield from _row("cores", str(sizing.cpu), sizing.cpu_reason)
    yield from _row("GPU", _gpu_name(sizing.gpu) if sizing.gpu else "none", sizing.gpu_reason)
    yield from _speed_rows(sizing)


def _speed_rows(sizing: Sizing) -> Iterator[str]:
    if sizing.speed.one:
        together = f"one request; ~{sizing.speed.all:g} for {sizing.parallel} together"
        yield from _row("speed", f"~{sizing.speed.one:g} tok/s", together)
    yield from _row("" if sizing.speed.one else "speed", "", sizing.speed.reason)
    yield from _row("prompts", "", sizing.prompt_speed)


def _row(name: str, value: str, reason: str) -> Iterator[str]:
    """A name, a number, and the reason in as many lines as it takes."""
    for number, line in enumerate(textwrap.wrap(reason, _REASON_WIDTH)):
        head = f"{name:<10} {value:>14}" if number == 0 else " " * 25
        yield f"{head}  {line}"


def _gpu_name(fit: GPUFit) -> str:
    return f"{fit.count} × {fit.gpu}"


def _gpu_rows(sizing: Sizing) -> Iterator[str]:
    """The first of the cards that have room, each with its estimate."""
    if not sizing.gpus:
        return
    yield f"{'GPUs WITH ROOM':<24} {'NEEDED EACH':>12} {'TOK/S ONE':>10} {'ALL':>8}  SPREAD"
    for fit in _different(sizing.gpus):
        spread = f"tensor {fit.tensor_parallel} × pipeline {fit.pipeline_parallel}"
        yield (
            f"{_gpu_name(fit) + ' ' + fit.ram:<24} {fit.needed.text:>12} "
            f"{_rate(fit.speed.one):>10} {_rate(fit.speed.all):>8}  "
            f"{spread if fit.count > 1 else ''}"
        ).rstrip()
    yield ""


def _rate(tokens_per_s: float) -> str:
    return f"~{tokens_per_s:g}" if tokens_per_s else "-"


def _different(fits: tuple[GPUFit, ...], most: int = _SHOWN_GPUS) -> list[GPUFit]:
    """One row for each model and memory."""
    seen: dict[tuple[str, str], GPUFit] = {}
    for fit in fits:
        seen.setdefault((fit.gpu, fit.ram), fit)
    return list(seen.values())[:most]


# -- for a notebook -----------------------------------------------------------------

# A wide track with its filled part, in the colours of the page's text.
_BAR = (320, 12)


def sizing_html(sizing: Sizing, machine_bytes: int) -> str:
    """What it needs with the reasons, and how much of this machine (`machine_bytes` of memory)
    and of some GPUs that is."""
    count = f"{sizing.parameters / 1e9:.2f}B parameters, {sizing.precision}"
    caption = f"{sizing.model} ({count}): {sizing.parallel} requests of {sizing.context} tokens"
    needs = (
        ("weights", sizing.weights),
        ("cache", sizing.cache),
        ("buffers", sizing.compute),
        ("overhead", sizing.overhead),
        ("memory to ask for", sizing.memory),
        ("storage", sizing.storage),
    )
    rows = [(name, quantity.text, quantity.reason) for name, quantity in needs]
    rows.append(("GPU", _gpu_name(sizing.gpu) if sizing.gpu else "none", sizing.gpu_reason))
    if sizing.speed.one:
        alone = f"one request; about {sizing.speed.all:g} for {sizing.parallel} together"
        rows.append(("speed", f"about {sizing.speed.one:g} tok/s", alone))
    what = html_table(caption, ("what", "how much", "why"), rows)
    return what + html_table(
        "Where it fits", ("place", "picture", "used"), _places(sizing, machine_bytes), markup=1
    )


def _places(sizing: Sizing, machine_bytes: int) -> list[tuple[str, str, str]]:
    here = "this machine", sizing.memory, machine_bytes
    cards = [
        (f"{_gpu_name(fit)} {fit.ram}", fit.needed, fit.usable)
        for fit in _different(sizing.gpus, _SHOWN_BARS)
    ]
    return [
        (name, _bar(need.bytes, room), _used(need, room)) for name, need, room in (here, *cards)
    ]


def _used(need: Quantity, room_bytes: int) -> str:
    share = 100 * need.bytes / max(room_bytes, 1)
    room = Quantity(room_bytes, "").text
    if share > 100:
        return f"needs {need.text}, has {room}: does not fit"
    return f"{need.text} of {room} ({share:.0f} %)"


def _bar(used: int, room: int) -> str:
    """The share as a filled track; the words beside it say the same."""
    width, height = _BAR
    filled = round(width * min(1.0, used / max(room, 1)))
    return (
        f'<svg width="{width}" height="{height}" aria-hidden="true">'
        f'<rect width="{width}" height="{height}" rx="3" fill="currentColor" opacity="0.12"/>'
        f'<rect width="{max(filled, 2)}" height="{height}" rx="3" '
        f'fill="{"#c62828" if used > room else "#2f81d0"}"/></svg>'
    )
