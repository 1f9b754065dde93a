"""The figures of a reply as words: what is shown below it, exported, and read out."""

from collections.abc import Iterator

from toolkit.safetext import cleaned
from toolkit.widgets.chat.conversation import Turn

FORMULA = (
    "Price of a reply: the price of an hour, times the seconds from its request to its end, "
    "divided by 3,600. It is the most that it has cost: replies at the same time share the hour, "
    "and the hour is paid whether anybody asks or not."
)


def usd_of(usd_per_hour: float, seconds: float) -> float:
    """The most that a reply of so many seconds costs of an endpoint of that price."""
    return usd_per_hour * seconds / 3600


def usd_text(usd: float) -> str:
    """An amount with the digits that say something."""
    if usd >= 0.01 or usd == 0:
        return f"${usd:.2f}"
    return f"${usd:.2g}" if usd >= 1e-4 else f"${max(usd, 1e-7):.7f}"


def figures(turn: Turn) -> Iterator[tuple[str, str]]:
    """Pairs of a name and a value with its unit, as far as they are known, in a fixed order."""
    stats = turn.stats
    if stats is not None:
        if stats.output_tokens is not None:
            yield "", f"{stats.output_tokens:,} tokens"
        if stats.ttft_s is not None:
            yield "first token", f"{stats.ttft_s:.2f} s"
        if stats.tokens_per_s is not None:
            yield "", f"{stats.tokens_per_s:.1f} tok/s"
        if stats.context_used is not None:
            yield "context", _context(stats.context_used, stats.context)
    if turn.usd is not None:
        yield "at most", usd_text(turn.usd)
    if stats is not None:
        if stats.truncated_tokens:
            yield "cut from the prompt", f"{stats.truncated_tokens:,} tokens"
        yield "ended:", cleaned(stats.finish_reason) or "not told"


def _context(used: int, window: int | None) -> str:
    if not window:
        return f"{used:,}"
    return f"{used:,} of {window:,} ({100 * used / window:.0f} %)"
