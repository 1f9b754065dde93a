"""The finding of a benchmark: the best level, in one sentence."""

from collections.abc import Sequence

from toolkit.bench.numbers import number
from toolkit.bench.result import Result
from toolkit.bench.summary import Summary


def best(result: Result) -> Summary | None:
    """The level with the most tokens per second among those that meet every objective and
    are not saturated; without objectives, the fastest of all."""
    rated = [s for s in result.summaries if s.output_tokens_per_s]
    if result.config.slos:
        rated = [s for s in rated if s.is_good and not s.is_saturated]
    elif any(not s.is_saturated for s in rated) and result.config.sweep is not None:
        rated = [s for s in rated if not s.is_saturated]
    return max(rated, key=lambda s: s.output_tokens_per_s or 0.0, default=None)


def sentence(result: Result) -> str:
    """The finding in one sentence."""
    if not any(s.output_tokens_per_s for s in result.summaries):
        return "No answer was measured."
    found = best(result)
    slos = " and ".join(str(slo) for slo in result.config.slos)
    if found is None:
        return f"No level meets {slos}: {_why_not(_lightest(result.summaries))}."
    head = f"Best rate under {slos}" if slos else "Best"
    return f"{head}: {_figures(found)}{_beyond(result, found)}; {_failed(result.summaries)}."


def _figures(one: Summary) -> str:
    requests = f"{number(one.requests_per_s)} requests/s" if one.requests_per_s else ""
    parts = [f"{number(one.output_tokens_per_s)} tok/s", requests, f"at {one.load}"]
    text = ", ".join(part for part in parts[:2] if part) + f" {parts[2]}"
    if first := one.spreads.get("ttft_ms"):
        text += f", first token after {first.p50:.0f} ms (median)"
    if one.usd_per_million_tokens is not None:
        text += f", {number(one.usd_per_million_tokens)} USD per million tokens"
    return text


def _beyond(result: Result, found: Summary) -> str:
    """What the next load up would have cost, where there was one."""
    above = [
        one
        for one in result.summaries
        if one.load.at > found.load.at and one.load.is_open == found.load.is_open
    ]
    nearest = min(above, key=lambda s: s.load.at, default=None)
    if nearest is None or not (result.config.slos or nearest.is_saturated):
        return ""
    return f"; {_why_not(nearest)}"


def _why_not(one: Summary) -> str:
    """Why a level is not good, as one clause."""
    missed = [verdict for verdict in one.verdicts if not verdict.is_met]
    if missed:
        got = ", ".join(f"{verdict.slo} with {number(verdict.value)}" for verdict in missed)
        return f"{one.load} misses {got}"
    if one.is_saturated:
        return f"{one.load} is saturated"
    if not one.is_good:
        return f"{one.load} has {one.errors} errors"
    return f"{one.load} is good, too"


def _lightest(summaries: Sequence[Summary]) -> Summary:
    return min(summaries, key=lambda s: s.load.at)


def _failed(summaries: Sequence[Summary]) -> str:
    failed = sum(s.errors for s in summaries)
    return f"{failed} of {sum(s.ok + s.short + s.errors for s in summaries)} requests failed"
