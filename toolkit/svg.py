"""matplotlib figures as inline SVG: no display, no network, the colours of the page.

matplotlib takes seconds to import, so it is imported when a picture is made.
"""

import io
import re
from collections.abc import Callable
from html import escape
from importlib.util import find_spec
from typing import Any

from toolkit.errors import ConfigError

# Stands for the page's text colour, which matplotlib has no name for.
TEXT = "#010203"
BLUE, ORANGE, GREEN = "#2f81d0", "#d9822b", "#2e9e6b"
RED, GREY = "#c23b3b", "#8a8f98"

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "akash-llm",
    "font.size": 9,
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "text.parse_math": False,
}


def check() -> None:
    """Raises `ConfigError` where no picture can be made; imports nothing."""
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            hint="Install it: pip install 'akash-llm[notebook]'; other formats do without.",
        )


def picture(size: tuple[float, float], draw: Callable[[Any], None], summary: str) -> str:
    """The svg element of a figure of `size` inches that `draw` has drawn on, with `summary` as
    its name. What stands in it is text, whoever wrote it. Raises `ConfigError` without
    matplotlib."""
    check()
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"Pictures need matplotlib, which does not work here: {error}",
            hint="Install it anew: pip install --force-reinstall matplotlib",
        ) from error

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), summary)


def _inline(svg: str, summary: str) -> str:
    """Safe to stand in a page: its rules and colours are its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>\*\{", "<style>.akl-plot svg *{", svg)
    svg = svg.replace(TEXT, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(summary)}"', 1)
