"""What the models panel shows, as HTML of values. Pure; texts of models are only text."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.models.shelf import Details, Row, megabytes
from toolkit.widgets import board
from toolkit.widgets.markdown import plain

_MOST_INFO = 120
_LONGEST_VALUE = 120


def list_page(rows: Sequence[Row], title: str) -> str:
    """The models of a place."""
    heads = ("model", "size", "parameters", "quantization", "what it can do")
    cells = [
        (
            row.name,
            megabytes(row.size_bytes),
            row.parameters,
            row.quantization,
            f"cannot be served: {row.problem}" if row.problem else ", ".join(row.capabilities),
        )
        for row in rows
    ]
    none = "No models yet: pull smollm2:135m, a small one, below."
    made = board.table(f"Models of {title}", heads, cells, numbers=(1, 2), none=none)
    return f'<div class="akl-sheet">{made}</div>'


def details_page(details: Details) -> str:
    """One model: facts at once, and its texts folded."""
    facts = board.table(details.row.name, ("what", "value"), details.facts())
    options = [(name, _short(value)) for name, value in details.options.items()]
    folded = (
        _folded("Chat template", details.template),
        _folded("System prompt", details.system),
        _folded_table("Options", ("option", "value"), options),
        _folded("License", details.license),
        _folded_table("Metadata of the file", ("key", "value"), _info(details.info)),
    )
    return f'<div class="akl-sheet akl-fold">{facts}{"".join(folded)}</div>'


def _info(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, _short(value)) for key, value in list(info.items())[:_MOST_INFO] if value != ""]


def _short(value: object) -> str:
    text = "not shown (long)" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _folded(title: str, value: str) -> str:
    # Tab leads to a long text, so that the arrow keys can move it.
    inner = f'<div class="akl-text" tabindex="0">{plain(value)}</div>'
    return _fold(title, inner) if value.strip() else ""


def _folded_table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
    return _fold(title, board.table(title, heads, rows)) if rows else ""


def _fold(title: str, inner: str) -> str:
    return f"<details><summary>{board.text(title)}</summary>{inner}</details>"
