"""What a person has typed, and the click or the Enter that acts on it.

A front end sends the text of a field when it is left or entered, in a message of its own.
Widgets of one panel may be served by different threads of the kernel, so that the click or the
Enter can be there before the text. While fields update with each letter it is worse: the texts
queue behind one another, and a click does not.
"""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from toolkit.widgets.task import HomeLoop

# Buttons that act on a text wait so long for it.
TEXT_GRACE_S = 0.1
# Enter arrives before the text it ends, as two messages sent back to back.
ENTER_GRACE_S = 0.2


def on_enter(home: HomeLoop, field: widgets.Text, act: Callable[[], None]) -> None:
    """Call `act` on the panel's loop for Enter in `field`, when its text is there.

    Leaving the field calls nothing, so that what was written stays a draft.
    """
    field.continuous_update = False
    _Entering(home, field, act)


class _Entering:
    """Waits for the text that follows an Enter."""

    def __init__(self, home: HomeLoop, field: widgets.Text, act: Callable[[], None]) -> None:
        self._home = home
        self._act = act
        self._entered: object | None = None
        field.on_msg(self._event)
        field.observe(self._changed, "value")

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
        if self._entered is not None:  # of two changes at once the first was it
            self._entered = None
            self._act()
