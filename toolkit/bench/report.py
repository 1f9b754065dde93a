"""A result for people: a table for the terminal, Markdown, and the formulas behind it."""

from collections.abc import Callable, Sequence

from toolkit.bench.metrics import METRICS
from toolkit.bench.result import Result, Summary
from toolkit.safetext import cleaned

FORMULAS = (
    *((metric.label, f"{metric.formula} [{metric.unit}]") for metric in METRICS),
    ("tok/s", "sum of n / window, window = last E - first t0 [tok/s]"),
    ("USD per 1M tokens", "price of an hour / output tokens of an hour at this rate, times 1e6"),
)
SYMBOLS = (
    "n output tokens (counted by the server), t0 request sent, t1 first chunk with text, "
    "tN last chunk with text, E end of the answer; client's clock"
)

Column = tuple[str, Callable[[Summary], str]]


def columns(result: Result) -> list[Column]:
    """Heading and cell of every column of the table of levels."""
    shown: list[Column] = [
        ("open", lambda s: str(s.concurrency)),
        ("ok", lambda s: f"{s.ok}/{s.asked}"),
        ("short", lambda s: str(s.short)),
        ("errors", lambda s: str(s.errors)),
        ("tok/s", lambda s: number(s.output_tokens_per_s)),
        ("tok/s per user p50", _spread("user_tokens_per_s", "50")),
        ("TTFT p50 ms", _spread("ttft_ms", "50")),
        ("TTFT p99 ms", _spread("ttft_ms", "99")),
        ("TPOT p50 ms", _spread("tpot_ms", "50")),
        ("gap p99 ms", _spread("itl_gap_ms", "99")),
        ("request p50 ms", _spread("e2e_ms", "50")),
    ]
    if result.config.usd_per_hour is not None:
        shown.append(("USD per 1M", lambda s: number(s.usd_per_million_tokens)))
    return shown


def rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row of cells per level."""
    shown = columns(result)
    cells = [[cell(summary) for _, cell in shown] for summary in result.summaries]
    return [heading for heading, _ in shown], cells


def terminal(result: Result) -> str:
    """Everything a reader of the terminal needs: what, how much, the spread, the formulas."""
    headings, cells = rows(result)
    parts = [
        title(result),
        _aligned([headings, *cells]),
        *_warnings(result),
        "Spread (median with its 95 % interval, mean ± standard deviation, range, samples):",
        _aligned(_spread_rows(result)),
        "Formulas:",
        _aligned([[f"  {label}", formula] for label, formula in FORMULAS], left=2),
        f"  {SYMBOLS}",
    ]
    return cleaned("\n".join(parts))


def markdown(result: Result) -> str:
    """The same for a Markdown file."""
    parts = [
        f"**{title(result)}**",
        _piped(*rows(result)),
        *_warnings(result),
        _piped(_spread_rows(result)[0], _spread_rows(result)[1:]),
        "\n".join(f"- {label}: `{formula}`" for label, formula in FORMULAS),
        f"{SYMBOLS}.",
    ]
    return cleaned("\n\n".join(parts)) + "\n"


def title(result: Result) -> str:
    """What was measured, in one line."""
    subject, workload = result.subject, result.config.workload
    quantization = f" {subject.quantization}" if subject.quantization else ""
    state = "" if result.complete else " (stopped: partial result)"
    return (
        f"{subject.model}{quantization} at {subject.url}: closed loop, "
        f"{workload.prompt_words}-word prompts, {workload.output_tokens} output tokens, "
        f"seed {workload.seed}, workload {result.workload_digest}{state}"
    )


def sentence(result: Result) -> str:
    """The finding in one sentence."""
    rated = [s for s in result.summaries if s.output_tokens_per_s]
    if not rated:
        return "No answer was measured."
    best = max(rated, key=lambda s: s.output_tokens_per_s or 0.0)
    first = best.spreads.get("ttft_ms")
    wait = f", first token after {first.p50:.0f} ms (median)" if first else ""
    failed = sum(s.errors for s in result.summaries)
    return (
        f"Best: {number(best.output_tokens_per_s)} tok/s with {best.concurrency} open "
        f"request{'s' if best.concurrency > 1 else ''}{wait}; {failed} of "
        f"{sum(s.ok + s.short + s.errors for s in result.summaries)} requests failed."
    )


def number(value: float | None) -> str:
    """Three figures that count, or a dash where there is no value."""
    if value is None:
        return "–"
    return (
        f"{value:,.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def _spread(tag: str, p: str) -> Callable[[Summary], str]:
    def cell(summary: Summary) -> str:
        found = summary.spreads.get(tag)
        return number(found.percentiles[p] if found else None)

    return cell


def _spread_rows(result: Result) -> list[list[str]]:
    table = [
        ["open", "metric", "unit", "p50", "95 % of p50", "p99", "mean ± std", "min – max", "n"]
    ]
    for summary in result.summaries:
        for metric in METRICS:
            if (found := summary.spreads.get(metric.tag)) is None:
                continue
            low, high = found.ci["50"]
            table.append([
                str(summary.concurrency), metric.label, metric.unit,
                number(found.p50), f"{number(low)} – {number(high)}", number(found.p99),
                f"{number(found.mean)} ± {number(found.std)}",
                f"{number(found.minimum)} – {number(found.maximum)}", str(found.n),
            ])  # fmt: skip
    return table


def _warnings(result: Result) -> list[str]:
    """What spoils the figures, or keeps some requests out of them."""
    found = []
    for s in result.summaries:
        for message, count in s.messages.items():
            quoted = message.replace("`", "'").replace("\n", " ")
            found.append(f"Errors at {s.concurrency} open: {count} × `{quoted}`")
        if s.short:
            found.append(
                f"Short answers at {s.concurrency} open: {s.short}, not in the latencies "
                "(the endpoint does not know ignore_eos, or its context is full)."
            )
        if s.tokens_per_chunk is not None and s.tokens_per_chunk > 1.05:
            found.append(
                f"At {s.concurrency} open a chunk carries {s.tokens_per_chunk:.2f} tokens: "
                "the gaps are those of bundles; TPOT is per token."
            )
    return found


def _aligned(table: Sequence[Sequence[str]], *, left: int = 0) -> str:
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
