"""The comparison at the end of a matrix: a table, and what is best, in words."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from toolkit.automation.artefacts import write_whole
from toolkit.automation.figures import Figures
from toolkit.automation.matrix import Matrix
from toolkit.automation.matrix_result import MatrixResult, Outcome
from toolkit.automation.page import table_page
from toolkit.bench.numbers import number
from toolkit.bench.slo import MOST_ERRORS
from toolkit.deploy.table import columns, usd
from toolkit.safetext import cleaned

_FIGURES: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("tok/s", lambda one: one.output_tokens_per_s),
    ("requests/s", lambda one: one.requests_per_s),
    ("TTFT p50 ms", lambda one: one.ttft_p50_ms),
    ("TTFT p99 ms", lambda one: one.ttft_p99_ms),
    ("TPOT p50 ms", lambda one: one.tpot_p50_ms),
    ("USD per 1M tokens", lambda one: one.usd_per_million_tokens),
    ("errors %", lambda one: 100 * one.error_rate),
)


def write_report(result: MatrixResult, folder: Path) -> None:
    """Write it as Markdown and as a page that loads and runs nothing."""
    write_whole(folder / "matrix.md", markdown(result).encode())
    said = "\n".join(sentences(result))
    write_whole(folder / "matrix.html", table_page("A matrix of endpoints", said, table(result)))


def preview(matrix: Matrix) -> str:
    """What would be run, and the most that each may cost with nobody watching."""
    keys = list(matrix.spec.matrix)
    rows = [
        (str(point.number), *(_value(point.choices[key]) for key in keys), _most(point.worst_usd))
        for point in matrix.points
    ]
    most = sum((point.worst_usd or Decimal(0) for point in matrix.points), Decimal(0))
    budget = matrix.spec.budget_usd
    bound = f", of which {usd(budget)} may be spent" if budget is not None else ""
    said = f"{len(rows)} combinations, {_most(most)} at most{bound}"
    return "\n".join([columns([("#", *keys, "AT MOST"), *rows]), "", said])


def terminal(result: MatrixResult) -> str:
    """The table and the sentences, for a terminal."""
    rows = [tuple(row) for row in table(result)]
    return cleaned("\n".join([columns(rows), "", *sentences(result)]))


def markdown(result: MatrixResult) -> str:
    """The same as Markdown."""
    head, *rows = ([_escaped(cell) for cell in row] for row in table(result))
    lines = [head, ["---"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    said = "\n\n".join(map(_escaped, sentences(result)))
    return f"# A matrix of endpoints\n\n{said}\n\n{body}\n"


def table(result: MatrixResult) -> list[list[str]]:
    """A row for each combination, below its heads."""
    keys = list(result.spec.matrix)
    heads = ["#", *keys, "best at", *(name for name, _ in _FIGURES), "USD/h", "spent", "came to"]
    return [heads, *(_row(one, keys) for one in result.outcomes)]


def sentences(result: MatrixResult) -> list[str]:
    """What was found, what was not, and what it cost."""
    measured = [
        one
        for one in result.outcomes
        if one.figures and one.status == "ok" and one.figures.error_rate <= MOST_ERRORS
    ]
    said = [
        _best("Fastest", measured, lambda figures: -figures.output_tokens_per_s),
        _best("Cheapest", measured, lambda figures: figures.usd_per_million_tokens),
        _best(
            "First token soonest",
            measured,
            lambda figures: figures.ttft_p50_ms,
        ),
    ]
    if len({one.figures.workload for one in measured if one.figures}) > 1:
        said.append("They were not asked the same: figures of different workloads do not compare.")
    failed = [str(one.number) for one in result.outcomes if one.status == "failed"]
    skipped = [str(one.number) for one in result.outcomes if one.status == "skipped"]
    if failed:
        said.append(f"Failed: {', '.join(failed)}.")
    if skipped:
        said.append(
            f"Left out, because the budget might not have paid for it: {', '.join(skipped)}."
        )
    budget = result.spec.budget_usd
    of = f" of {usd(budget)}" if budget is not None else ""
    said.append(f"Spent {usd(result.spent_usd)}{of}.")
    return [each for each in said if each]


def _best(what: str, measured: Sequence[Outcome], key: Callable[[Figures], float | None]) -> str:
    rated = [
        (value, one)
        for one in measured
        if one.figures is not None and (value := key(one.figures)) is not None
    ]
    if not rated:
        return ""
    _, found = min(rated, key=lambda pair: pair[0])
    chosen = ", ".join(f"{name} {_value(value)}" for name, value in found.choices.items())
    first = found.figures.ttft_p50_ms if found.figures else None
    wait = "" if first is None else f", first token after {number(first)} ms"
    return f"{what}: {chosen} ({found.figures}{wait})."


def _row(one: Outcome, keys: Sequence[str]) -> list[str]:
    figures = one.figures
    return [
        str(one.number),
        *(_value(one.choices.get(key)) for key in keys),
        figures.load if figures else "–",
        *(_number(read(figures) if figures else None) for _, read in _FIGURES),
        usd(one.usd_per_hour) if one.usd_per_hour is not None else "–",
        usd(one.spent_usd),
        one.status if not one.why else f"{one.status}: {one.why}",
    ]


def _most(worst_usd: Decimal | None) -> str:
    return usd(worst_usd) if worst_usd else "nothing"


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _escaped(text: str) -> str:
    """A text in a cell of Markdown, where it can begin nothing."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return cleaned(text).replace("\n", " ")
