"""Buttons and fields as all panels have them: named in text, of even width, on the home loop."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import ipywidgets as widgets

from toolkit.widgets.task import HomeLoop

LABEL = "128px"

W = TypeVar("W", bound=widgets.DOMWidget)


def button(
    home: HomeLoop,
    text: str,
    tooltip: str,
    act: Callable[[], None],
    *,
    style: str = "",
    after_s: float = 0.0,
) -> widgets.Button:
    """A button as wide as its text, whose click is handled on the panel's loop, `after_s` later:
    `typed.TEXT_GRACE_S` for one that acts on what was typed."""
    made = widgets.Button(
        description=text,
        tooltip=tooltip,
        button_style=style,
        layout=widgets.Layout(width="auto", flex="0 0 auto"),
    )
    made.on_click(lambda _: home.later(after_s, act) if after_s else home.do(act))
    return made


def toggle(
    home: HomeLoop, text: str, tooltip: str, act: Callable[[bool], None] | None = None
) -> widgets.ToggleButton:
    """A button that stays pressed; `act` gets whether it is, on the panel's loop."""
    made = widgets.ToggleButton(
        description=text, tooltip=tooltip, layout=widgets.Layout(width="auto", flex="0 0 auto")
    )
    if act is not None:
        made.observe(lambda change: home.do(lambda: act(bool(change["new"]))), "value")
    return made


def line(label: str, value: str = "", placeholder: str = "", **more: Any) -> widgets.Text:
    """A line of text with its label; its text arrives when it is entered or left."""
    field = widgets.Text(value=value, placeholder=placeholder, continuous_update=False, **more)
    return labelled(field, label)


def choice(
    label: str, options: Iterable[tuple[str, Any]], value: Any = None, **more: Any
) -> widgets.Dropdown:
    """One of several, as pairs of what is shown and what it means."""
    return labelled(widgets.Dropdown(options=list(options), value=value, **more), label)


def labelled(field: W, label: str) -> W:
    """The field with its label, as wide as its place."""
    field.description = label
    field.style.description_width = LABEL
    field.layout.width = "auto"
    return field


def grid(fields: Iterable[widgets.Widget]) -> widgets.GridBox:
    """Fields side by side where there is room."""
    return widgets.GridBox(
        list(fields),
        layout=widgets.Layout(
            grid_template_columns="repeat(auto-fit, minmax(300px, 1fr))", grid_gap="2px 16px"
        ),
    )


def row(*children: widgets.Widget) -> widgets.HBox:
    """Buttons beside each other; they go on below where there is no room."""
    return widgets.HBox(
        list(children), layout=widgets.Layout(flex_flow="row wrap", align_items="center")
    )


def show(widget: widgets.Widget, is_shown: bool) -> None:
    """Show or hide: what is hidden is in no tab order and in no accessibility tree."""
    widget.layout.display = None if is_shown else "none"


def fill(widget: widgets.HTML, value: str) -> None:
    """Set its text; it takes no room without one."""
    put(widget, value)
    show(widget, bool(value))


def put(widget: widgets.HTML, value: str) -> None:
    """Set its text, if that is another: nothing travels for what stays as it is."""
    if widget.value != value:
        widget.value = value
