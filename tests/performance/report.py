"""From raw figures to ratios with their spread: a table, JSON and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from tests.performance.cases import Case, Figure, Held
from tests.performance.compare import Results

_SIGNS = {True: "≥", False: "≤"}


class Row(msgspec.Struct, frozen=True):
    """A figure of ours, the peer's, and how they compare in each round that has both."""

    case: str
    name: str
    unit: str
    is_more_better: bool
    bar: float | None
    held: Held
    ours: Sequence[float]
    peer: Sequence[float]
    peer_name: str
    compared: Sequence[float]

    @property
    def held_against_bar(self) -> float | None:
        """The one number that the bar is about; None if there is none."""
        if self.held in ("ratio", "difference"):
            return median(self.compared) if self.compared else None
        if not self.ours:
            return None
        if self.held == "median":
            return median(self.ours)
        return min(self.ours) if self.is_more_better else max(self.ours)

    @property
    def verdict(self) -> str:
        """Whether the bar is met; nothing where there is none, or nothing to hold to it."""
        value = self.held_against_bar
        if self.bar is None or value is None:
            return ""
        is_met = value >= self.bar if self.is_more_better else value <= self.bar
        unit = "" if self.held == "ratio" else f" {self.unit}".rstrip()
        plus = "+" if self.held == "difference" else ""
        verb = "meets" if is_met else "misses"
        return f"{verb} {_SIGNS[self.is_more_better]} {plus}{self.bar:g}{unit}"


def rows(cases: Sequence[Case], results: Results) -> list[Row]:
    """One row a figure of which our side has something."""
    found = [_row(case, figure, results) for case in cases for figure in case.figures]
    return [row for row in found if row.ours]


def _row(case: Case, figure: Figure, results: Results) -> Row:
    sides = results.figures.get(case.name, {})
    ours = _by_round(sides.get(figure.ours, {}), figure.key)
    beside = figure.ours if figure.peer_key else figure.peer or ""
    peer = _by_round(sides.get(beside, {}), figure.peer_key or figure.key)
    common = [(ours[number], peer[number]) for number in sorted(ours.keys() & peer.keys())]
    if figure.held == "difference":
        compared = [a - b for a, b in common]
    else:
        compared = [a / b for a, b in common if b]
    return Row(
        case=case.name,
        name=figure.name,
        unit=figure.unit,
        is_more_better=figure.is_more_better,
        bar=figure.bar,
        held=figure.held,
        ours=list(ours.values()),
        peer=list(peer.values()),
        peer_name=figure.peer or "",
        compared=compared,
    )


def _by_round(rounds: Mapping[int, Mapping[str, float]], key: str) -> dict[int, float]:
    return {number: figures[key] for number, figures in rounds.items() if key in figures}


def table(found: Sequence[Row]) -> str:
    """Markdown: medians, and how they compare with the least and the greatest value."""
    lines = [
        "| case | figure | akash-llm | peer | ours to the peer (least to greatest) | bar |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in found:
        peer = f"{_value(row.peer, row.unit)} {row.peer_name}" if row.peer else ""
        # The number that the verdict is about, where that is not the median.
        worst = row.held_against_bar if row.held == "worst" else None
        mine = _value(row.ours if worst is None else [worst], row.unit)
        cells = (row.case, row.name, mine, peer, _spread(row), row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def text(facts: Mapping[str, Any], found: Sequence[Row], results: Results) -> str:
    """The table, what it was measured on, and what could not be measured."""
    kv = ", ".join(f"{name} {kind}" for name, kind in sorted(results.kv.items()))
    shown = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    parts = ["\n".join([*shown, f"keys and values: {kv}"]), table(found)]
    if results.problems:
        parts.append("\n".join(f"- {problem}" for problem in results.problems))
    return "\n\n".join(parts)


def _value(values: Sequence[float], unit: str) -> str:
    return f"{median(values):.4g} {unit}".rstrip()


def _spread(row: Row) -> str:
    if row.held in ("median", "worst") and not row.peer:
        return f"{_number(min(row.ours))} to {_number(max(row.ours))}"
    if not row.compared:
        return ""
    form = "{:+.2f}" if row.held == "difference" else "{:.2f}"
    middle, least, most = (form.format(f(row.compared)) for f in (median, min, max))
    return f"{middle} ({least} to {most})"


def _number(value: float) -> str:
    return f"{value:.3g}"


def save(folder: Path, facts: Mapping[str, Any], found: Sequence[Row], results: Results) -> None:
    """Write `bench.json`: schema 1, every figure of every round."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"schema": 1, **facts, **msgspec.to_builtins(results, str_keys=True), "rows": found}
    draft = folder / "bench.json.draft"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2))
    draft.rename(folder / "bench.json")


def save_shown(folder: Path, found: Sequence[Row], text: str) -> None:
    """Write `bench.md` and, if something was compared, `bench.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text(text + "\n", encoding="utf-8")
    ratios = [row for row in found if row.compared and row.held == "ratio"]
    if ratios:
        _plot(folder / "bench.svg", ratios)


def _plot(path: Path, found: Sequence[Row]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(found) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(found)):
        axes.plot([min(row.compared), max(row.compared)], [place, place], color="#9aa5b1", lw=4)
        axes.plot(median(row.compared), place, "o", color="#2a7fd4")
        if row.bar is not None:
            axes.plot(row.bar, place, "|", color="#c0392b", ms=16)
    axes.axvline(1.0, color="#444444", lw=0.8, ls="--")
    axes.set_xscale("log")
    labels = [f"{row.case}: {row.name} ({_better(row)})" for row in reversed(found)]
    axes.set_yticks(range(len(found)), labels)
    axes.set_xlabel("ratio to the peer: dot = median, band = spread, red = bar")
    figure.savefig(path)
    pyplot.close(figure)


def _better(row: Row) -> str:
    return "more is better" if row.is_more_better else "less is better"
