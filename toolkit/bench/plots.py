"""Pictures of a result as inline SVG: no display, no network, colours of the page.

matplotlib takes seconds to import, so it is imported when a picture is asked for.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from toolkit.bench.report import number, sentence
from toolkit.bench.result import Result, Summary

# Stands for the page's text colour, which matplotlib has no name for.
_TEXT = "#010203"
_BLUE, _ORANGE, _GREEN = "#2f81d0", "#d9822b", "#2e9e6b"


def throughput_and_latency(result: Result) -> str:
    """Tokens per second, and the first token's p50 and p99, over concurrency, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "akash-llm",
        "font.size": 9,
        "text.color": _TEXT,
        "axes.edgecolor": _TEXT,
        "axes.labelcolor": _TEXT,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
    }
    summaries = [s for s in result.summaries if s.output_tokens_per_s]
    with mpl.rc_context(style):
        figure = Figure(figsize=(8.4, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        _rates(left, summaries)
        _waits(right, summaries)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), sentence(result))


def _rates(axes: Any, summaries: Sequence[Summary]) -> None:
    at = [s.concurrency for s in summaries]
    rates = [s.output_tokens_per_s for s in summaries]
    axes.plot(at, rates, "o-", color=_BLUE, linewidth=2, label="all together")
    users = [s for s in summaries if "user_tokens_per_s" in s.spreads]
    per_user = [s.spreads["user_tokens_per_s"].p50 for s in users]
    axes.plot([s.concurrency for s in users], per_user, "s--", color=_GREEN, label="per user, p50")
    for x, y in zip(at, rates, strict=True):
        axes.annotate(
            number(y), (x, y), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8
        )
    _dress(axes, at, "tokens per second")


def _waits(axes: Any, summaries: Sequence[Summary]) -> None:
    timed = [s for s in summaries if "ttft_ms" in s.spreads]
    at = [s.concurrency for s in timed]
    p50 = [s.spreads["ttft_ms"].p50 for s in timed]
    p99 = [s.spreads["ttft_ms"].p99 for s in timed]
    axes.fill_between(at, p50, p99, color=_ORANGE, alpha=0.15, linewidth=0)
    axes.plot(at, p99, "s--", color=_ORANGE, label="p99")
    axes.plot(at, p50, "o-", color=_ORANGE, linewidth=2, label="p50")
    _dress(axes, at, "first token, ms")


def _dress(axes: Any, at: Sequence[int], label: str) -> None:
    axes.set_xlabel("open requests")
    axes.set_ylabel(label)
    axes.set_xticks(sorted(set(at)))
    axes.margins(x=0.12, y=0.25)
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if at:
        axes.legend(frameon=False, fontsize=8)


def _inline(svg: str, summary: str) -> str:
    """The svg element alone, safe to stand in a page: its rules and colours are its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>\*\{", "<style>.akl-plot svg *{", svg)
    svg = svg.replace(_TEXT, "currentColor")
    label = summary.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
