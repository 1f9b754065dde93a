"""A line of text that is taken with Enter.

Without continuous updates its text arrives at once, with Enter or on leaving the line. With
them a click on the next button could overtake what was typed last.
"""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from toolkit.widgets.task import HomeLoop

# Enter arrives before the text it ends, as two messages sent back to back.
ENTER_GRACE_S = 0.2


class EnterLine:
    """`widget` is the line; `entered` is called for Enter, when its text is there.

    Leaving the line calls nothing, so that what was written stays a draft.
    """

    def __init__(self, home: HomeLoop, entered: Callable[[], None], **options: Any) -> None:
        self._home = home
        self._act = entered
        self._entered: object | None = None
        self.widget = widgets.Text(continuous_update=False, **options)
        self.widget.on_msg(self._event)
        self.widget.observe(self._changed, "value")

    def _event(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("event") != "submit":
            return
        self._entered = entered = object()

        def due() -> None:
            if self._entered is entered:
                self._take()

        # With unchanged text (a draft that was left and entered later) no change follows.
        self._home.later(ENTER_GRACE_S, due)

    def _changed(self, change: dict[str, Any]) -> None:
        if self._entered is not None and change["new"]:
            self._home.do(self._take)

    def _take(self) -> None:
        self._entered = None
        self._act()
