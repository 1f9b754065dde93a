"""The same records under the names and formulas of other tools, for what reads their files.

Their formulas are those of `metrics.VARIANTS`; what counts as answered is ours, so that
short answers are in none.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from toolkit.bench import throughput
from toolkit.bench.distribution import Spread, percentile
from toolkit.bench.metrics import BY_TAG
from toolkit.bench.records import Level, Outcome
from toolkit.bench.result import Result
from toolkit.bench.summary import Summary

Lines = list[list[Any]]

_VLLM = {"ttft": "first_chunk_ms", "tpot": "vllm_tpot_ms", "itl": "vllm_itl_ms",
         "e2el": "vllm_e2el_ms"}  # fmt: skip
_AIPERF = (
    ("Inter Chunk Latency (ms)", "itl_gap_ms"),
    ("Inter Token Latency (ms)", "aiperf_itl_ms"),
    ("Input Sequence Length (tokens)", "prompt_tokens"),
    ("Output Sequence Length (tokens)", "output_tokens"),
    ("Output Token Throughput Per User (tokens/sec/user)", "aiperf_user_tokens_per_s"),
    ("Request Latency (ms)", "e2e_ms"),
    ("Time to First Token (ms)", "first_chunk_ms"),
    ("Time to Second Token (ms)", "second_token_ms"),
)
_GUIDELLM = (
    ("Request Latency", "Sec", "e2e_ms", 1e-3),
    ("Time to First Token", "ms", "ttft_ms", 1.0),
    ("Time per Output Token", "ms", "guidellm_tpot_ms", 1.0),
    ("Inter Token Latency", "ms", "tpot_ms", 1.0),
    ("Token Metrics", "Input Tokens", "prompt_tokens", 1.0),
    ("Token Metrics", "Output Tokens", "output_tokens", 1.0),
)


def vllm(result: Result) -> Lines:
    """The fields that `vllm bench serve --save-result` has, a row per level."""
    rows = [_vllm_row(result, s, one) for s, one in _levels(result)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [names, *([row.get(name) for name in names] for row in rows)]


def guidellm(result: Result) -> Lines:
    """Columns under three rows of headings, as in guidellm's CSV."""
    columns: list[list[Any]] = []
    for summary, level in _levels(result):
        cells = _guidellm_cells(summary, level)
        if not columns:
            columns = [list(names) for names, _ in cells]
        for column, (_, value) in zip(columns, cells, strict=True):
            column.append(value)
    return [list(row) for row in zip(*columns, strict=True)]


def aiperf(result: Result) -> Lines:
    """Its two tables, metrics with percentiles and single values; one pair per level."""
    lines: Lines = []
    stats: tuple[tuple[str, Callable[[Spread], float]], ...] = (
        ("avg", lambda s: s.mean), ("min", lambda s: s.minimum), ("max", lambda s: s.maximum),
        ("p99", lambda s: s.p99), ("p95", lambda s: s.percentiles["95"]),
        ("p90", lambda s: s.percentiles["90"]), ("p75", lambda s: s.percentiles["75"]),
        ("p50", lambda s: s.p50), ("std", lambda s: s.std),
    )  # fmt: skip
    for summary, _ in _levels(result):
        lines += [[]] if lines else []
        if len(result.levels) > 1:
            lines.append(["Level", str(summary.load)])
        lines.append(["Metric", *(name for name, _ in stats)])
        for name, tag in _AIPERF:
            if found := summary.spreads.get(tag):
                lines.append([name, *(round(of(found), 2) for _, of in stats)])
        lines += [[], ["Metric", "Value"]]
        lines += [
            ["Error Request Count", summary.errors],
            ["Output Token Throughput (tokens/sec)", summary.output_tokens_per_s],
            ["Request Count", summary.ok],
            ["Request Throughput (requests/sec)", summary.requests_per_s],
        ]
        if summary.goodput_per_s is not None:
            lines.append(["Goodput (requests/sec)", summary.goodput_per_s])
    return lines


def _levels(result: Result) -> Iterator[tuple[Summary, Level]]:
    return zip(result.summaries, result.levels, strict=True)


def _vllm_row(result: Result, summary: Summary, level: Level) -> dict[str, Any]:
    done = level.having(Outcome.OK)
    row: dict[str, Any] = {
        "date": result.created_at,
        "backend": result.subject.api,
        "model_id": result.subject.model,
        "num_prompts": summary.asked,
        "request_rate": summary.load.rate if summary.load.is_open else "inf",
        "burstiness": summary.load.burstiness,
        "max_concurrency": summary.load.concurrency,
        "duration": summary.window_s,
        "completed": summary.ok,
        "failed": summary.errors,
        "total_input_tokens": sum(r.prompt_tokens or 0 for r in done),
        "total_output_tokens": sum(r.output_tokens or 0 for r in done),
        "request_throughput": summary.requests_per_s,
        "request_goodput": summary.goodput_per_s,
        "output_throughput": summary.output_tokens_per_s,
        "total_token_throughput": summary.total_tokens_per_s,
        "max_output_tokens_per_s": summary.peak_tokens_per_s,
        "max_concurrent_requests": summary.peak_in_flight,
    }
    for name, tag in _VLLM.items():
        if found := summary.spreads.get(tag):
            row |= {f"mean_{name}_ms": found.mean, f"median_{name}_ms": found.p50}
            row |= {f"std_{name}_ms": found.std}
            row |= {f"p{p}_{name}_ms": value for p, value in found.percentiles.items()}
    return row


def _guidellm_cells(summary: Summary, level: Level) -> list[tuple[tuple[str, str, str], Any]]:
    counts = (summary.ok, summary.short + summary.unfinished, summary.errors)
    names = ("Successful", "Incomplete", "Errored")
    cells: list[tuple[tuple[str, str, str], Any]] = [
        (("Benchmark", "Strategy", ""), str(summary.load)),
        (("Timings", "Duration", "Sec"), summary.window_s),
        *((("Request Counts", name, ""), count) for name, count in zip(names, counts, strict=True)),
        (("Request Counts", "Total", ""), sum(counts)),
    ]
    for group, unit, tag, scale in _GUIDELLM:
        values = sorted(value * scale for value in BY_TAG[tag].values(level))
        cells += _guidellm_stats(group, f"Successful {unit}", values)
    rates = (
        ("Server Throughput", "Requests/Sec", throughput.requests_per_s(level)),
        ("Token Throughput", "Output Tokens/Sec", throughput.output_tokens_per_s(level)),
        ("Token Throughput", "Total Tokens/Sec", throughput.total_tokens_per_s(level)),
    )
    return cells + [((group, f"Successful {unit}", "Mean"), value) for group, unit, value in rates]


def _guidellm_stats(
    group: str, unit: str, ordered: Sequence[float]
) -> list[tuple[tuple[str, str, str], Any]]:
    """Mean, median, standard deviation, and percentiles from least to greatest in one cell."""
    if not ordered:
        return [
            ((group, unit, name), None) for name in ("Mean", "Median", "Std Dev", "Percentiles")
        ]
    mean = sum(ordered) / len(ordered)
    deviation = (sum((value - mean) ** 2 for value in ordered) / len(ordered)) ** 0.5
    shown = (0, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, 100)
    listed = ", ".join(str(percentile(ordered, p)) for p in shown)
    return [
        ((group, unit, "Mean"), mean),
        ((group, unit, "Median"), percentile(ordered, 50)),
        ((group, unit, "Std Dev"), deviation),
        ((group, unit, "Percentiles"), f"[{listed}]"),
    ]
