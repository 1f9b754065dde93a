"""What a person sees of a panel's widgets and does with them, without a browser."""

import asyncio
import html
import re
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets


def all_widgets(root: Any) -> list[Any]:
    """Every widget below one, itself included, in reading order; hidden ones are left out."""
    if root.layout.display == "none":
        return []
    children = getattr(root, "children", ())
    return [root, *(each for child in children for each in all_widgets(child))]


def markup(panel: Any) -> str:
    """All HTML that is shown, the style sheets left out."""
    found = [w for w in all_widgets(panel.view) if isinstance(w, widgets.HTML)]
    return "\n".join(w.value for w in found if "akl-style" not in w._dom_classes)


def shown(panel: Any) -> str:
    """The text that is shown, without markup."""
    return html.unescape(re.sub(r"<[^>]+>", " ", markup(panel)))


def buttons(panel: Any) -> dict[str, Any]:
    """What can be clicked now, by its text."""
    return {
        w.description: w
        for w in all_widgets(panel.view)
        if isinstance(w, widgets.Button) and not w.disabled
    }


def fields(panel: Any) -> dict[str, Any]:
    """The fields that are shown, by their label."""
    kinds = (widgets.Text, widgets.Dropdown, widgets.BoundedIntText, widgets.ToggleButton)
    return {w.description: w for w in all_widgets(panel.view) if isinstance(w, kinds)}


def state(root: widgets.Widget) -> str:
    """All that a saved notebook would hold of the widgets, hidden ones included."""
    children = getattr(root, "children", ())
    return "\n".join([repr(root.get_state()), *map(state, children)])


async def until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "") -> None:
    """Wait for what has to happen; a minute is for machines that hang."""
    try:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it did not happen; shown was:\n{what()}") from None
