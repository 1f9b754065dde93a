"""What panels that are no conversation are laid out with: heads, facts, steps, tables, logs.

Pure HTML of values; every value is cleaned and escaped here, so that no caller has to.
"""

from collections.abc import Iterable, Sequence
from html import escape

import ipywidgets as widgets

from toolkit.safetext import cleaned
from toolkit.widgets.style import classed

SHEET = """
<style>
.akl-steps { display: flex; flex-wrap: wrap; gap: 2px 22px; list-style: none; margin: 0;
  padding: 9px 16px; font-size: 12.5px; color: var(--akl-muted);
  border-bottom: 1px solid var(--akl-line); }
.akl-steps li { margin: 0; padding: 0; }
.akl-steps li[aria-current] { color: var(--akl-text); font-weight: 600;
  box-shadow: 0 2px 0 0 var(--akl-accent); }
.akl-section { padding: 12px 16px; }
.akl-actions { padding: 4px 14px 12px; }
.akl .akl-actions .widget-button, .akl .akl-actions .widget-toggle-button { padding: 0 14px; }
.akl dl.akl-tile-grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 10px; margin: 0; padding: 12px 16px 4px; width: 100%; box-sizing: border-box; }
.akl.akl-bench { max-width: 1180px; }
.akl-bench dl.akl-tile-grid { grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); }
.akl .akl-tile-grid > div { border: 1px solid var(--akl-line); border-radius: 8px;
  padding: 8px 12px; background: var(--akl-raised); }
.akl-tile-grid dt { font-size: 11.5px; color: var(--akl-muted); font-weight: 600; margin: 0;
  letter-spacing: .02em; }
.akl-tile-grid dd { margin: 1px 0 0; font-size: 17px; font-weight: 600;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.akl-tile-grid dd small { display: block; font-size: 12px; font-weight: 400;
  color: var(--akl-muted); line-height: 1.35; }
.akl .akl-tile-grid dt, .akl .akl-tile-grid dd { float: none; width: auto; padding: 0;
  display: block; text-align: left; }
.akl .akl-status .widget-html-content { font-size: 12.5px; color: var(--akl-muted); }
.akl-wide { overflow-x: auto; margin-bottom: 8px; } .akl-wide th[scope=row] { white-space: nowrap; }
.akl-bench thead th:nth-child(n+7) { min-width: 4.1em; }
.akl .akl-amount { margin-left: 12px; }
.akl .akl-amount .widget-html-content { font-size: 13px; font-variant-numeric: tabular-nums; }
.akl-fold details { border-top: 1px solid var(--akl-line); padding: 6px 0; }
.akl-fold summary { cursor: pointer; font-size: 13px; font-weight: 500; }
.akl-text { max-height: 280px; overflow: auto; margin: 6px 0; padding: 9px 12px;
  border: 1px solid var(--akl-line); border-radius: 8px; background: var(--akl-raised);
  font: 12px/1.5 var(--akl-mono); scrollbar-width: thin; }
.akl .akl-sheet p, .akl .akl-section p { margin: 0; font-size: 13.5px; }
.akl-sheet table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
.akl-sheet caption { text-align: left; font-weight: 600; font-size: 13.5px; padding: 0 0 6px; }
.akl-sheet th, .akl-sheet td { text-align: left; vertical-align: top; padding: 4px 14px 4px 0;
  border: 0; border-bottom: 1px solid var(--akl-line); overflow-wrap: break-word; }
.akl-sheet th:last-child, .akl-sheet td:last-child { padding-right: 0; }
.akl-sheet thead th { color: var(--akl-muted); font-size: 12px; font-weight: 600;
  overflow-wrap: normal; }
.akl-sheet th[scope=row] { font-weight: 500; }
.akl-sheet tbody tr:last-child > * { border-bottom: 0; }
.akl-plan table { table-layout: fixed; }
.akl-plan caption { display: none; }
.akl-plan th[scope=row] { width: 21%; color: var(--akl-muted); }
.akl-plan th[scope=rowgroup] { padding-top: 14px; font-weight: 600; font-size: 13.5px;
  color: var(--akl-text); border-bottom: 1px solid var(--akl-line); }
.akl-plan tbody:first-of-type th[scope=rowgroup] { padding-top: 0; }
.akl-plan tbody td + td { color: var(--akl-muted); }
.akl .akl-changes { padding-bottom: 20px; }
.akl-num { text-align: right !important; }
.akl td.akl-num { white-space: nowrap; }
.akl-console { height: 220px; overflow: hidden auto; border: 1px solid var(--akl-line);
  border-radius: 8px; margin: 0 16px 12px; background: var(--akl-raised); scrollbar-width: thin; }
.akl-console pre { margin: 0; padding: 9px 12px; font: 12px/1.5 var(--akl-mono);
  color: var(--akl-text); background: none; white-space: pre-wrap; overflow-wrap: anywhere; }
.akl .akl-ask { padding: 9px 14px; border-top: 1px solid var(--akl-line);
  background: var(--akl-raised); }
.akl .akl-ask .widget-button { padding: 0 14px; }
.akl .widget-progress { height: 24px; margin: 0; }
.akl .progress { background: var(--akl-line); border-radius: 5px; }
.akl .progress-bar { background: var(--akl-accent); border-radius: 5px; transition: none; }
.akl .widget-label, .akl label { color: var(--akl-text); font-size: 13px; }
.akl input::placeholder { color: var(--akl-muted); opacity: 1; }
</style>
"""


def board_sheet() -> widgets.HTML:
    """The rules of this module as a widget without a size; a panel holds it behind `sheet`."""
    return classed(widgets.HTML(SHEET), "akl-style")


def head(title: str, about: str, state: str) -> str:
    """The title bar: what it is, of what, and in which state."""
    return (
        f'<div class="akl-head"><b>{text(title)}</b><span>{text(about)}</span>'
        f'<span class="akl-state">{text(state)}</span></div>'
    )


def steps(names: Sequence[str], current: int) -> str:
    """Where one is in a sequence."""
    items = "".join(
        f"<li{' aria-current=step' if at == current else ''}>{at + 1} {text(name)}</li>"
        for at, name in enumerate(names)
    )
    return f'<ol class="akl-steps" aria-label="Steps">{items}</ol>'


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Facts that matter most: a name, a figure, and a few words below it."""
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}"
        f"{f'<small>{text(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in facts
    )
    return f'<dl class="akl-tile-grid">{cells}</dl>'


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    none: str = "",
) -> str:
    """A table with headers, the first cell of each row being its head. `numbers` are columns of
    figures; without rows, the words `none` instead."""
    right = set(numbers)
    kinds = [' class="akl-num"' if at in right else "" for at in range(len(heads))]
    body = "".join(_row(cells, kinds) for cells in rows)
    if not body:
        return f"<p>{text(none)}</p>" if none else ""
    top = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(heads, kinds, strict=True)
    )
    return (
        f"<table><caption>{text(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def wide(name: str, inner: str) -> str:
    """What may be wider than its place: a part of that name, which Tab leads to and the arrow
    keys move. Nothing for nothing."""
    if not inner:
        return ""
    label = text(name)
    return f'<div class="akl-wide" role="region" tabindex="0" aria-label="{label}">{inner}</div>'


def console(lines: Iterable[str], none: str) -> str:
    """Lines of a log as they stand."""
    shown = "\n".join(text(line.rstrip()) for line in lines)
    return f"<pre>{shown or text(none)}</pre>"


def text(value: str) -> str:
    """Any text as HTML that is nothing but text."""
    return escape(cleaned(value))


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    first, *rest = (text(cell) for cell in cells)
    told = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
    return f'<tr><th scope="row"{kinds[0]}>{first}</th>{told}</tr>'
