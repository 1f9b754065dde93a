"""What the benchmark panel shows, as HTML of values. Pure."""

from collections.abc import Sequence
from html import escape

from toolkit.bench import comparison, report
from toolkit.bench.comparison import Comparison
from toolkit.bench.numbers import number
from toolkit.bench.progress import Progress
from toolkit.bench.result import Result
from toolkit.safetext import cleaned
from toolkit.widgets import board

WIDTH, HEIGHT, EDGE = 640, 96, 4
MOST_POINTS = 300

Moment = tuple[float, float]
"""Seconds since the run began, and tokens a second then."""


def live(progress: Progress) -> str:
    """The figures of the level that runs."""
    first = ""
    if progress.ttft_p50_ms is not None and progress.ttft_p99_ms is not None:
        first = f"p99 {progress.ttft_p99_ms:,.0f} ms"
    of = f" of {progress.levels}" if progress.levels else ""
    asked = f" of {progress.asked}" if progress.asked else ""
    return board.tiles(
        [
            ("Level", f"{progress.level}{of}", progress.load),
            ("Answered", f"{progress.ok + progress.short}{asked}", f"{progress.in_flight} open"),
            ("Errors", str(progress.errors), f"{progress.short} cut short"),
            ("Tokens a second", number(progress.tokens_per_s), "since the level began"),
            ("Requests a second", number(progress.requests_per_s), "since the level began"),
            ("First token", _ms(progress.ttft_p50_ms), first),
        ]
    )


def line(moments: Sequence[Moment]) -> str:
    """Tokens a second over time as a line, which takes its room before there is one. Drawn by
    hand: what computes for long while a benchmark runs holds up what is measured."""
    shown = moments[-MOST_POINTS:]
    most = max((rate for _, rate in shown), default=0.0)
    if len(shown) < 2 or most <= 0:
        return _drawn("", "Tokens a second: none yet.")
    begin, end = shown[0][0], shown[-1][0]
    across = (WIDTH - 2 * EDGE) / max(end - begin, 1e-9)
    down = (HEIGHT - 2 * EDGE) / most
    points = " ".join(
        f"{EDGE + (at - begin) * across:.1f},{HEIGHT - EDGE - rate * down:.1f}"
        for at, rate in shown
    )
    return _drawn(
        points,
        f"Tokens a second over the last {end - begin:.0f} s: {number(shown[-1][1])} now, "
        f"{number(most)} at most.",
    )


def _drawn(points: str, said: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(said)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="100%" height="{HEIGHT}" preserveAspectRatio="none">'
        f'<polyline points="{points}" fill="none" stroke="var(--akl-accent)" stroke-width="2" '
        f'vector-effect="non-scaling-stroke"/></svg><p>{escape(said)}</p>'
    )


def levels(result: Result) -> str:
    """The table of levels, what spoils its figures, and the formulas."""
    heads, rows = report.rows(result)
    table = board.table("Levels", heads, rows, numbers=range(1, len(heads)))
    notices = "".join(f"<li>{board.text(one)}</li>" for one in report.notices(result))
    told = f"<ul>{notices}</ul>" if notices else ""
    formulas = "".join(
        f"<li>{board.text(label)}: <code>{board.text(formula)}</code></li>"
        for label, formula in report.FORMULAS
    )
    return (
        f"{board.wide('Levels', table)}{told}<details><summary>Formulas</summary>"
        f"<ul>{formulas}</ul><p>{board.text(report.SYMBOLS)}.</p></details>"
    )


def compared(name: str, found: Comparison) -> str:
    """Two runs beside each other."""
    rows = [
        (
            f"{row.load}: {row.figure}",
            f"{number(row.before)} {row.unit}".strip(),
            f"{number(row.after)} {row.unit}".strip(),
            "–" if row.change is None else f"{row.change:+.1%}",
            row.verdict,
        )
        for row in found.rows
    ]
    heads = ("figure", "before", "after", "change", "verdict")
    differ = "".join(f"<li>{board.text(one)}</li>" for one in found.differences)
    told = f"<p>What differs:</p><ul>{differ}</ul>" if differ else ""
    caption = f"Compared with {name}"
    table = board.table(caption, heads, rows, numbers=(1, 2, 3))
    return board.wide(caption, table) + told


def compare(name: str, before: Result, after: Result) -> str:
    """The same of two results. Raises `UsageError` for what does not compare."""
    return compared(name, comparison.compare(before, after))


def run_name(at: int, result: Result) -> str:
    """A run, as somebody would tell it from others: plain text."""
    best = max((one.output_tokens_per_s or 0.0 for one in result.summaries), default=0.0)
    return f"run {at}: {cleaned(result.subject.model)}, {best:.1f} tok/s at best"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"
