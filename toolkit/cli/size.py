"""`akash-llm size`: what a model needs, as a table with reasons."""

import textwrap
from collections.abc import Iterator

import click
import msgspec

from server.models.sources import DEFAULT_REGISTRIES, Registries
from toolkit.cli import loop
from toolkit.errors import UsageError
from toolkit.safetext import cleaned
from toolkit.sizing.demand import ENGINES, Engine
from toolkit.sizing.result import GPUFit, Sizing
from toolkit.sizing.sizing import REQUANTIZED
from toolkit.sizing.sizing import size as find_size

_SHOWN_GPUS = 8
_REASON_WIDTH = 72


@click.command()
@click.argument("model")
@click.option("--context", default=2048, show_default=True, help="Tokens a request.")
@click.option("--parallel", default=4, show_default=True, help="Requests at once.")
@click.option("--kv", default="f16", show_default=True, help="Cache: f16, q8_0, q4_0; vLLM: fp8.")
@click.option("--engine", type=click.Choice(ENGINES), default="llama-cpp", show_default=True)
@click.option("--gpu", "gpus", multiple=True, metavar="MODEL", help="A GPU that may be used.")
@click.option("--cpu", "on_cpu", is_flag=True, help="On a processor alone.")
@click.option("--requantize", type=click.Choice(REQUANTIZED), help="As the server is told.")
@click.option(
    "--registries",
    envvar="AKASH_LLM_REGISTRIES",
    default=",".join(DEFAULT_REGISTRIES),
    show_default=True,
    metavar="HOST,…",
    help="Which registries may be asked; http:// before a host means plain http.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def size(
    model: str,
    context: int,
    parallel: int,
    kv: str,
    engine: Engine,
    gpus: tuple[str, ...],
    on_cpu: bool,
    requantize: str | None,
    registries: str,
    as_json: bool,
) -> None:
    """Say what MODEL needs: memory, storage, GPUs, and about how fast it will be.

    MODEL is a GGUF file, a name in the model store or in a registry, hf.co/user/repo:quantization,
    or hf://user/repo/file.gguf; for vLLM a folder with a config.json, or user/repo on Hugging
    Face. Of models that are not on this machine only the description is fetched.
    """
    found = loop.run(
        find_size(
            model,
            context=context,
            parallel=parallel,
            kv=kv,
            engine=engine,
            gpus=gpus,
            on_cpu=on_cpu,
            requantize=requantize or "",
            registries=_parsed(registries),
        )
    )
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in table(found):
        click.echo(cleaned(line))  # the file's maker wrote some of it


def _parsed(registries: str) -> Registries:
    try:
        return Registries.parse(filter(None, map(str.strip, registries.split(","))))
    except ValueError as error:
        raise UsageError(f"--registries: {error}") from None


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


def _different(fits: tuple[GPUFit, ...]) -> list[GPUFit]:
    """One row for each model and memory."""
    seen: dict[tuple[str, str], GPUFit] = {}
    for fit in fits:
        seen.setdefault((fit.gpu, fit.ram), fit)
    return list(seen.values())[:_SHOWN_GPUS]
