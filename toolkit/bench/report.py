"""A result for people: a table for the terminal, Markdown, and the formulas behind it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from toolkit.bench import slo, throughput
from toolkit.bench.best import sentence
from toolkit.bench.metrics import ALL, METRICS
from toolkit.bench.numbers import number
from toolkit.bench.result import Result
from toolkit.bench.summary import Summary
from toolkit.safetext import cleaned

__all__ = [
    "FORMULAS", "SYMBOLS", "facts", "markdown", "notices", "rows", "sentence", "spread_rows",
    "terminal", "title",
]  # fmt: skip

FORMULAS = (
    *(
        (one.label, f"{one.formula} [{one.unit}]" + (f" = {one.tools}" if one.tools else ""))
        for one in ALL
    ),
    *throughput.FORMULAS,
    *slo.FORMULAS,
)
SYMBOLS = (
    "n output tokens (counted by the server), t0 request sent, t1, t2 and tN first, second and "
    "last chunk with text, C1 and CN first and last chunk of any kind, E end of the answer; "
    "client's clock. Intervals are 95 % bootstrap intervals; gaps are taken as independent, "
    "which those of one answer are not"
)

Column = tuple[str, Callable[[Summary], str]]


def columns(result: Result) -> list[Column]:
    """Heading and cell of every column of the table of levels."""
    shown: list[Column] = [
        ("load", lambda s: str(s.load)),
        ("ok", lambda s: f"{s.ok}/{s.asked}" if s.asked else str(s.ok)),
        ("short", lambda s: str(s.short)),
        ("errors", lambda s: str(s.errors)),
        ("req/s", lambda s: number(s.requests_per_s)),
        ("tok/s", lambda s: number(s.output_tokens_per_s)),
        ("tok/s per user p50", _spread("user_tokens_per_s", "50")),
        ("TTFT p50 ms", _spread("ttft_ms", "50")),
        ("TTFT p99 ms", _spread("ttft_ms", "99")),
        ("TPOT p50 ms", _spread("tpot_ms", "50")),
        ("gap p99 ms", _spread("itl_gap_ms", "99")),
        ("request p50 ms", _spread("e2e_ms", "50")),
    ]
    config = result.config
    if config.usd_per_hour is not None:
        shown.append(("USD per 1M", lambda s: number(s.usd_per_million_tokens)))
    if config.slos:
        shown.append(("goodput/s", lambda s: number(s.goodput_per_s)))
    if config.slos and config.usd_per_hour:
        shown.append(("good per USD", lambda s: number(s.good_per_usd)))
    if config.slos or any(s.is_saturated for s in result.summaries):
        shown.append(("state", _state))
    return shown


def rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row of cells per level; those of a sweep by their load."""
    shown = columns(result)
    levels = list(result.summaries)
    if result.config.sweep is not None:
        levels.sort(key=lambda s: (s.load.is_open, s.load.at))
    cells = [[cell(summary) for _, cell in shown] for summary in levels]
    return [heading for heading, _ in shown], cells


def terminal(result: Result) -> str:
    """Everything a reader of the terminal needs: what, how much, the spread, the formulas."""
    headings, cells = rows(result)
    parts = [
        title(result),
        *(f"  {name}: {value}" for name, value in facts(result)),
        aligned([headings, *cells]),
        *notices(result),
        "Spread (median with its 95 % interval, mean ± standard deviation, range, samples):",
        aligned(spread_rows(result)),
        "Formulas:",
        aligned([[f"  {label}", formula] for label, formula in FORMULAS], left=2),
        f"  {SYMBOLS}.",
    ]
    return cleaned("\n".join(parts))


def markdown(result: Result) -> str:
    """The same for a Markdown file. What the endpoint wrote stays text."""
    headings, cells = rows(result)
    spreads = spread_rows(result)
    parts = [
        f"**{_plain(title(result))}**",
        _plain(sentence(result)),
        _piped(headings, cells),
        "\n".join(f"- {_plain(notice)}" for notice in notices(result)),
        _piped(spreads[0], spreads[1:]),
        "\n".join(f"- {name}: {_plain(value)}" for name, value in facts(result)),
        "\n".join(f"- {label}: `{formula}`" for label, formula in FORMULAS),
        f"{SYMBOLS}.",
    ]
    return cleaned("\n\n".join(part for part in parts if part)) + "\n"


def title(result: Result) -> str:
    """What was measured, in one line."""
    subject, workload = result.subject, result.config.workload
    quantization = f" {subject.quantization}" if subject.quantization else ""
    state = "" if result.complete else f" ({result.ended_by or 'stopped'}: partial result)"
    asked = f"prompts of {workload.file}" if workload.file else _lengths(result)
    is_open = any(s.load.is_open for s in result.summaries)
    return (
        f"{subject.model}{quantization} at {subject.url}: "
        f"{'open' if is_open else 'closed'} loop, {asked}, "
        f"seed {workload.seed}, workload {result.workload_digest}{state}"
    )


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """What a figure is worth nothing without: where, with what, for how much."""
    subject, config = result.subject, result.config
    price = config.usd_per_hour
    known = (
        ("measured", f"{result.created_at} by {result.client}" if result.client else ""),
        ("API", subject.api),
        ("server", " ".join(filter(None, (subject.engine, subject.server_version)))),
        ("model digest", subject.model_digest),
        ("context", f"{subject.context} tokens" if subject.context else ""),
        ("slots", str(subject.slots or "")),
        ("hardware", subject.hardware),
        ("provider", " ".join(filter(None, (subject.provider, subject.region)))),
        ("price", f"{price:g} USD per hour" if price is not None else ""),
        ("warm-up", _excluded(result)),
    )
    return ((name, value) for name, value in known if value)


def notices(result: Result) -> list[str]:
    """Errors and what spoils the figures, each with the levels that it is about."""
    found: dict[str, list[str]] = {}
    for one in result.summaries:
        for message, count in one.messages.items():
            quoted = message.replace("`", "'").replace("\n", " ")
            found.setdefault(f"{count} × `{quoted}`", []).append(f"Errors at {one.load}")
        for notice in one.notices:
            found.setdefault(notice, []).append(f"At {one.load}")
    said = [f"{', '.join(_once(where))}: {what}" for what, where in found.items()]
    return [*(remark[:1].upper() + remark[1:] for remark in result.remarks), *said]


def spread_rows(result: Result) -> list[list[str]]:
    """The distribution of each metric at each level, headings first."""
    table = [
        ["load", "metric", "unit", "p50", "95 % of p50", "p99", "95 % of p99", "mean ± std",
         "min – max", "n"]
    ]  # fmt: skip
    for summary in result.summaries:
        for metric in METRICS:
            if (found := summary.spreads.get(metric.tag)) is None:
                continue
            table.append([
                str(summary.load), metric.label, metric.unit,
                number(found.p50), _range(found.ci.get("50")), number(found.p99),
                _range(found.ci.get("99")), f"{number(found.mean)} ± {number(found.std)}",
                _range((found.minimum, found.maximum)), str(found.n),
            ])  # fmt: skip
    return table


def _spread(tag: str, p: str) -> Callable[[Summary], str]:
    def cell(summary: Summary) -> str:
        found = summary.spreads.get(tag)
        return number(found.percentiles[p] if found else None)

    return cell


def _state(summary: Summary) -> str:
    parts = ["saturated"] if summary.is_saturated else []
    if summary.verdicts:
        parts.append("good" if summary.is_good else "misses")
    return ", ".join(parts)


def _lengths(result: Result) -> str:
    work = result.config.workload
    to = f"–{work.prompt_words_to}" if work.prompt_words_to else ""
    tokens = f"–{work.output_tokens_to}" if work.output_tokens_to else ""
    shared = f"{work.prefix_words} shared words ({work.prefixes}), " if work.prefix_words else ""
    turns = f"{work.turns} turns, " if work.turns > 1 else ""
    return (
        f"{shared}{turns}{work.prompt_words}{to}-word prompts, "
        f"{work.output_tokens}{tokens} output tokens"
    )


def _excluded(result: Result) -> str:
    """What is in no figure, so that nobody wonders where it went."""
    count = len(result.warmup) + sum(s.excluded for s in result.summaries)
    config = result.config
    spans = [
        f"the {which} {seconds:g} s of each level"
        for which, seconds in (("first", config.warmup_s), ("last", config.cooldown_s))
        if seconds
    ]
    before = [f"{config.warmup} before all"] if config.warmup else []
    return f"{count} requests in no figure ({', '.join([*before, *spans])})" if count else ""


def _range(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{number(ends[0])} – {number(ends[1])}"


def _once(where: list[str]) -> list[str]:
    """Without the words that the one before began with, too."""
    short = [where[0]]
    for before, one in pairwise(where):
        head = "Errors at " if one.startswith("Errors") else "At "
        short.append(one.removeprefix(head) if before.startswith(head) else one)
    return short


def _plain(text: str) -> str:
    """Text that Markdown and HTML take for nothing else."""
    for sign in "\\<>[]*_|!":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else f"&{_ENTITIES[sign]};")
    return text.replace("\n", " ")


_ENTITIES = {"<": "lt", ">": "gt"}


def aligned(table: Sequence[Sequence[str]], *, left: int = 0) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _piped(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---:"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
