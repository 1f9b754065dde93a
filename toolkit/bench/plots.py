"""Pictures of a result as inline SVG: no display, no network, colours of the page.

matplotlib takes seconds to import, so it is imported when a picture is asked for. Points
of saturated levels are hollow; every picture says in text what it shows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from toolkit import svg
from toolkit.bench.best import best, sentence
from toolkit.bench.metrics import BY_TAG
from toolkit.bench.numbers import number
from toolkit.bench.records import Outcome, Phase
from toolkit.bench.result import Result
from toolkit.bench.summary import Summary

MOST_BARS = 150


class Chart(msgspec.Struct, frozen=True):
    """One picture: its title, what it shows in a sentence, and the SVG element."""

    title: str
    text: str
    svg: str


def charts(result: Result) -> list[Chart]:
    """The five that readers of such a report expect. Raises `ConfigError` without matplotlib."""
    axis = _axis(result)
    return [
        _chart("Latency and load", f"First token and gaps, p50 and p99, over {axis}.",
               lambda fig: _latencies(fig, result), result),
        _chart("Throughput and load", f"Tokens per second, of all and per user, over {axis}.",
               lambda fig: _rates(fig.subplots(), result), result),
        _chart("What one reader gets and what all get",
               "Tokens per second per user against those of all together.",
               lambda fig: _pareto(fig.subplots(), result), result),
        _chart("First tokens", "The share of first tokens that came within a time.",
               lambda fig: _cdf(fig.subplots(), result), result),
        _chart("Requests", "Each request from its sending over its first token to its end.",
               lambda fig: _timeline(fig.subplots(), result), result),
    ]  # fmt: skip


def throughput_and_latency(result: Result) -> str:
    """Tokens per second, and the first token's p50 and p99, over the load, as SVG."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _rates(left, result)
        _waits(right, result, "ttft_ms", svg.ORANGE)

    return svg.picture((8.4, 2.7), draw, sentence(result))


def _chart(title: str, text: str, draw: Callable[[Any], None], result: Result) -> Chart:
    summary = f"{title}. {text} {sentence(result)}"
    return Chart(title, text, svg.picture((7.2, 3.0), draw, summary))


def _latencies(figure: Any, result: Result) -> None:
    left, right = figure.subplots(1, 2)
    _waits(left, result, "ttft_ms", svg.ORANGE)
    _waits(right, result, "itl_gap_ms", svg.BLUE)


def _rates(axes: Any, result: Result) -> None:
    summaries = [s for s in _ordered(result) if s.output_tokens_per_s]
    rates = [s.output_tokens_per_s or 0.0 for s in summaries]
    _line(axes, summaries, rates, "o", "-", svg.BLUE, "all together")
    users = [s for s in summaries if "user_tokens_per_s" in s.spreads]
    per_user = [s.spreads["user_tokens_per_s"].p50 for s in users]
    _line(axes, users, per_user, "s", "--", svg.GREEN, "per user, p50")
    for one, rate in zip(summaries, rates, strict=True):
        axes.annotate(
            number(rate), (one.load.at, rate), textcoords="offset points", xytext=(0, 6),
            ha="center", fontsize=8,
        )  # fmt: skip
    _dress(axes, result, "tokens per second")


def _waits(axes: Any, result: Result, tag: str, color: str) -> None:
    timed = [s for s in _ordered(result) if tag in s.spreads]
    at = [s.load.at for s in timed]
    p50 = [s.spreads[tag].p50 for s in timed]
    p99 = [s.spreads[tag].p99 for s in timed]
    axes.fill_between(at, p50, p99, color=color, alpha=0.15, linewidth=0)
    _line(axes, timed, p99, "s", "--", color, "p99")
    _line(axes, timed, p50, "o", "-", color, "p50")
    for limit in (s.limit for s in result.config.slos if s.metric == tag and s.sign == "<="):
        axes.axhline(limit, color=svg.RED, linewidth=1, linestyle=":", label=f"objective {limit:g}")
    _dress(axes, result, f"{BY_TAG[tag].label}, {BY_TAG[tag].unit}")


def _pareto(axes: Any, result: Result) -> None:
    shown = [
        s for s in _ordered(result) if s.output_tokens_per_s and "user_tokens_per_s" in s.spreads
    ]
    users = [s.spreads["user_tokens_per_s"].p50 for s in shown]
    rates = [s.output_tokens_per_s or 0.0 for s in shown]
    axes.plot(users, rates, "-", color=svg.GREY, linewidth=1)
    for one, x, y in zip(shown, users, rates, strict=True):
        axes.plot(x, y, "o", color=svg.BLUE, fillstyle="none" if one.is_saturated else "full")
        axes.annotate(str(one.load), (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set_xlabel("tokens per second per user, p50")
    axes.set_ylabel("tokens per second of all")
    _frame(axes)


def _cdf(axes: Any, result: Result) -> None:
    for level in result.levels:
        values = sorted(BY_TAG["ttft_ms"].values(level))
        if values:
            shares = [(i + 1) / len(values) for i in range(len(values))]
            axes.step(values, shares, where="post", label=str(level.load), linewidth=1.5)
    axes.set_xlabel("first token, ms")
    axes.set_ylabel("share of requests")
    axes.axhline(0.5, color=svg.GREY, linewidth=0.5)
    axes.axhline(0.99, color=svg.GREY, linewidth=0.5)
    _frame(axes, legend=any(BY_TAG["ttft_ms"].values(level) for level in result.levels))


def _timeline(axes: Any, result: Result) -> None:
    found = best(result)
    shown = [one for one in result.levels if found is None or one.load == found.load]
    if not shown:
        return
    level = shown[0]
    records = sorted(level.records, key=lambda r: r.sent_s)[:MOST_BARS]
    named: set[str] = set()

    def bar(place: int, start: float, end: float, color: str, name: str) -> None:
        axes.plot([start, end], [place, place], color=color, linewidth=2,
                  label=name if name not in named else None)  # fmt: skip
        named.add(name)

    for place, record in enumerate(records, 1):
        first = record.text_s[0] if record.text_s else record.end_s
        if record.phase is not Phase.MEASURED:
            bar(place, record.sent_s, record.end_s, svg.GREY, "warm-up, cool-down")
        elif record.outcome is not Outcome.OK:
            bar(place, record.sent_s, record.end_s, svg.RED, "no full answer")
        else:
            bar(place, record.sent_s, first, svg.ORANGE, "waits for the first token")
            bar(place, first, record.end_s, svg.BLUE, "answers")
    axes.invert_yaxis()
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(f"seconds since the level began ({level.load})")
    axes.set_ylabel("request")
    _frame(axes, legend=bool(named), from_zero=False)


def _line(
    axes: Any, points: Sequence[Summary], values: Sequence[float], mark: str, line: str,
    color: str, label: str,
) -> None:  # fmt: skip
    at = [s.load.at for s in points]
    axes.plot(at, values, line, color=color, linewidth=2, label=label)
    for one, x, y in zip(points, at, values, strict=True):
        axes.plot(x, y, mark, color=color, fillstyle="none" if one.is_saturated else "full")


def _dress(axes: Any, result: Result, label: str) -> None:
    at = sorted({s.load.at for s in _ordered(result)})
    axes.set_xlabel(_axis(result))
    axes.set_ylabel(label)
    if 0 < len(at) <= 8:
        axes.set_xticks(at, [f"{value:g}" for value in at])
    _frame(axes, legend=bool(axes.lines))


def _frame(axes: Any, *, legend: bool = False, from_zero: bool = True) -> None:
    axes.margins(x=0.12, y=0.25)
    axes.autoscale_view()
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8)


def _ordered(result: Result) -> list[Summary]:
    """The levels of one kind: where rates are swept, not the one before them."""
    is_open = any(s.load.is_open for s in result.summaries)
    chosen = [s for s in result.summaries if s.load.is_open == is_open]
    return sorted(chosen, key=lambda s: s.load.at)


def _axis(result: Result) -> str:
    is_open = any(s.load.is_open for s in result.summaries)
    return "requests per second" if is_open else "open requests"
