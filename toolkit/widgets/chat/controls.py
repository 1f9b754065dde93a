"""Buttons and toggles as the chat has them: named in text, run on the panel's loop."""

from collections.abc import Callable

import ipywidgets as widgets

from toolkit.widgets.task import HomeLoop


def button(
    home: HomeLoop,
    text: str,
    tooltip: str,
    act: Callable[[], None],
    *,
    style: str = "",
    width: str = "84px",
    after_s: float = 0.0,
) -> widgets.Button:
    """A button that calls `act` on the loop of the panel, `after_s` later."""
    made = widgets.Button(
        description=text,
        tooltip=tooltip,
        button_style=style,
        layout=widgets.Layout(width=width, flex="0 0 auto"),
    )
    made.on_click(lambda _: home.later(after_s, act) if after_s else home.do(act))
    return made


def toggle(
    home: HomeLoop,
    text: str,
    tooltip: str,
    act: Callable[[bool], None] | None = None,
    *,
    width: str = "112px",
) -> widgets.ToggleButton:
    """A button that stays down; `act` gets whether it is."""
    made = widgets.ToggleButton(
        description=text, tooltip=tooltip, layout=widgets.Layout(width=width, flex="0 0 auto")
    )
    if act is not None:
        made.observe(lambda change: home.do(lambda: act(bool(change["new"]))), "value")
    return made


def show(widget: widgets.DOMWidget, is_shown: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = None if is_shown else "none"
