"""Tables for a notebook: headers, rows, and a sentence below. Pure; every value is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from toolkit.safetext import cleaned

_LEFT = "style='text-align:left'"


def html_table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    below: str = "",
    markup: int | None = None,
) -> str:
    """A table whose rows begin with their head, and the sentence `below` it; that alone where
    there are no rows. The column `markup` is HTML already, made by whoever calls."""
    body = "".join(f"<tr>{_cells(row, markup)}</tr>" for row in rows)
    told = f"<p>{_text(below)}</p>" if below else ""
    if not body:
        return told
    head = "".join(f"<th scope='col' {_LEFT}>{_text(each)}</th>" for each in heads)
    return (
        f"<table><caption {_LEFT}>{_text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{told}"
    )


def _cells(row: Sequence[str], markup: int | None) -> str:
    cells = [cell if at == markup else _text(cell) for at, cell in enumerate(row)]
    rest = "".join(f"<td {_LEFT}>{cell}</td>" for cell in cells[1:])
    return f"<th scope='row' {_LEFT}>{cells[0]}</th>{rest}"


def _text(value: str) -> str:
    return escape(cleaned(value))
