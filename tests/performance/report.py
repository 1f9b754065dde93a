"""From raw figures to ratios with their spread: a table, JSON and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from tests.performance.cases import METRICS, Metric

Figures = Mapping[str, Sequence[float]]


class Row(msgspec.Struct, frozen=True):
    """A metric: our figures, the peer's, and the ratios of the same round."""

    metric: str
    unit: str
    is_more_better: bool
    bar: float | None
    ours: Sequence[float]
    peer: Sequence[float]
    ratios: Sequence[float]

    @property
    def verdict(self) -> str:
        """Whether the median ratio meets the bar; nothing where there is no bar."""
        if self.bar is None:
            return ""
        ratio = median(self.ratios)
        is_met = ratio >= self.bar if self.is_more_better else ratio <= self.bar
        sign = "≥" if self.is_more_better else "≤"
        return f"{'meets' if is_met else 'misses'} {sign} {self.bar:g}"


def rows(ours: Figures, peer: Figures) -> list[Row]:
    """One row a metric that both have figures of."""
    return [_row(metric, ours[metric.name], peer[metric.name]) for metric in METRICS]


def _row(metric: Metric, ours: Sequence[float], peer: Sequence[float]) -> Row:
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    return Row(metric.name, metric.unit, metric.is_more_better, metric.bar, ours, peer, ratios)


def table(found: Sequence[Row], peer: str) -> str:
    """Markdown: medians, and the ratio with its least and greatest value."""
    lines = [
        f"| metric | akash-llm | {peer} | ratio (least to greatest) | bar |",
        "|---|---:|---:|---:|---|",
    ]
    for row in found:
        values = (f"{median(each):.4g} {row.unit}" for each in (row.ours, row.peer))
        spread = f"{median(row.ratios):.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
        lines.append(f"| {' | '.join((row.metric, *values, spread, row.verdict))} |")
    return "\n".join(lines)


def save(folder: Path, facts: Mapping[str, Any], found: Sequence[Row], text: str) -> None:
    """Write `bench.json`, `bench.md` and `bench.svg` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"schema": 1, **facts, "rows": found}
    (folder / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2))
    (folder / "bench.md").write_text(text + "\n", encoding="utf-8")
    if found:
        _plot(folder / "bench.svg", found)


def _plot(path: Path, found: Sequence[Row]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(found) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(found)):
        axes.plot([min(row.ratios), max(row.ratios)], [place, place], color="#9aa5b1", lw=4)
        axes.plot(median(row.ratios), place, "o", color="#2a7fd4")
        if row.bar is not None:
            axes.plot(row.bar, place, "|", color="#c0392b", ms=16)
    axes.axvline(1.0, color="#444444", lw=0.8, ls="--")
    axes.set_yticks(range(len(found)), [row.metric for row in reversed(found)])
    axes.set_xlabel("ratio to the peer: dot = median, band = spread, red = bar")
    figure.savefig(path)
    pyplot.close(figure)
