"""A result as files for other programs, by the ending of their name."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from toolkit import jsontext, svg
from toolkit.bench import report, theirs
from toolkit.bench.html_page import page
from toolkit.bench.metrics import ALL
from toolkit.bench.result import Result, check_writable, write
from toolkit.bench.summary import Summary
from toolkit.errors import UsageError
from toolkit.safetext import cleaned

Like = Literal["ours", "vllm", "guidellm", "aiperf"]
LIKES: tuple[Like, ...] = ("ours", "vllm", "guidellm", "aiperf")
_NOT_IN_A_CELL = {"load", "spreads", "messages", "verdicts", "notices"}


def save(result: Result, path: Path, like: Like = "ours") -> None:
    """Write a result: `.json` whole, `.jsonl` a line per request, `.csv`, `.md` or `.html`.

    `like` gives a CSV the columns and formulas of another tool. Raises `UsageError` for any
    other ending and `ConfigError` where it cannot be written.
    """
    check(path)
    makers: Mapping[str, Callable[[], str]] = {
        ".json": lambda: result.to_json() + "\n",
        ".jsonl": lambda: jsonl(result),
        ".csv": lambda: table(result, like),
        ".md": lambda: report.markdown(result),
        ".html": lambda: page(result),
    }
    write(path, makers[path.suffix]())


def check(path: Path) -> None:
    """To be asked before anything is measured: whether `save` will be able to write there.

    Raises `UsageError` for a name it would refuse, and `ConfigError` for a place that cannot be
    written to or a page without what draws its pictures.
    """
    if path.suffix not in (".json", ".jsonl", ".csv", ".md", ".html"):
        raise UsageError(
            f"{path.name} has no ending that says how to write it.",
            hint="Give .json (all of it), .jsonl (each request), .csv, .md or .html.",
        )
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", hint="Make it, or give another.")
    if path.suffix == ".html":
        svg.check()
    check_writable(path)


def jsonl(result: Result) -> str:
    """One line per request, with its level and phase."""
    return "".join(f"{jsontext.encoded(line).decode()}\n" for line in _requests(result))


def table(result: Result, like: Like = "ours") -> str:
    """The levels as CSV; what the endpoint wrote cannot become a formula of a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    match like:
        case "ours":
            rows = [_flat(result, summary) for summary in result.summaries]
            names = list(dict.fromkeys(name for row in rows for name in row))
            lines = [names, *([row.get(name, "") for name in names] for row in rows)]
        case "vllm":
            lines = theirs.vllm(result)
        case "guidellm":
            lines = theirs.guidellm(result)
        case "aiperf":
            lines = theirs.aiperf(result)
    writer.writerows([[_cell(value) for value in line] for line in lines])
    return out.getvalue()


def _requests(result: Result) -> Iterator[dict[str, Any]]:
    """Warm-ups first, as they were."""
    for record in result.warmup:
        yield {"level": "before all", **msgspec.to_builtins(record)}
    for level in result.levels:
        for record in level.records:
            yield {"level": str(level.load), **msgspec.to_builtins(record)}


def _flat(result: Result, summary: Summary) -> dict[str, Any]:
    """Each figure of a level under a name of its own, and what it was measured on."""
    load, subject = summary.load, result.subject
    cells: dict[str, Any] = {
        **msgspec.structs.asdict(subject),
        "measured_at": result.created_at,
        "workload": result.workload_digest,
        "seed": result.config.workload.seed,
        "usd_per_hour": result.config.usd_per_hour,
        "arrival": load.arrival,
        "concurrency": load.concurrency,
        "rate": load.rate,
    }
    figures = msgspec.structs.asdict(summary)
    cells |= {name: value for name, value in figures.items() if name not in _NOT_IN_A_CELL}
    for metric in ALL:
        found = summary.spreads.get(metric.tag)
        if found is None:
            continue
        cells[f"{metric.tag}_n"] = found.n
        cells |= {f"{metric.tag}_{n}": getattr(found, n) for n in ("mean", "std")}
        cells |= {f"{metric.tag}_min": found.minimum, f"{metric.tag}_max": found.maximum}
        cells |= {f"{metric.tag}_p{p}": value for p, value in found.percentiles.items()}
        for p, (low, high) in found.ci.items():
            cells |= {f"{metric.tag}_p{p}_low": low, f"{metric.tag}_p{p}_high": high}
    cells |= {f"slo {verdict.slo}": verdict.value for verdict in summary.verdicts}
    return cells


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        text = cleaned(value)
        return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
    return value
