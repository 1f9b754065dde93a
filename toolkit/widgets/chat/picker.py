"""Which conversation is shown: a list of them, and New, Rename and Delete."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from toolkit.widgets.controls import button, show
from toolkit.widgets.style import classed
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import TEXT_GRACE_S, on_enter

LABEL = "96px"


class ConversationPicker:
    """Offers what `offer` was given; the callbacks are called on the panel's loop."""

    def __init__(
        self,
        home: HomeLoop,
        *,
        choose: Callable[[str], None],
        begin: Callable[[], None],
        rename: Callable[[str], None],
        delete: Callable[[], None],
    ) -> None:
        self._home = home
        self._choose = choose
        self._rename_to = rename
        self._delete_it = delete
        self._is_offering = False
        self.menu = widgets.Dropdown(description="Conversation")
        self.title = widgets.Text(description="New title")
        on_enter(home, self.title, self._titled)
        for field in (self.menu, self.title):
            field.style.description_width = LABEL
            field.layout = widgets.Layout(flex="1 1 200px", width="auto", min_width="0")
        self.menu.observe(self._chosen, "value")
        self.new = button(home, "New", "Begin a new conversation", begin)
        self.rename = button(home, "Rename", "Give this conversation a title", self._ask_title)
        self.save = button(
            home, "Save", "Take this title", self._titled, style="primary", after_s=TEXT_GRACE_S
        )
        self.delete = button(home, "Delete", "Remove this conversation", self._ask_to_delete)
        self.confirm = button(home, "Delete it", "Yes, remove it", self._deleted, style="danger")
        self.keep = button(home, "Cancel", "Leave it as it is", self.settle)
        self.view = classed(
            widgets.HBox(
                [
                    *(self.menu, self.new, self.rename, self.delete),
                    *(self.title, self.save, self.confirm, self.keep),
                ],
                layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
            ),
            "akl-picker",
        )
        self.settle()

    def offer(self, choices: Sequence[tuple[str, str]]) -> None:
        """Offer these titles and names; the first is what is shown."""
        self._is_offering = True
        try:
            self.menu.options = _distinct(choices)
            self.menu.value = choices[0][1]
        finally:
            self._is_offering = False

    def enable(self, *, is_busy: bool, has_file: bool) -> None:
        """Offer what can be done now."""
        for control in (self.menu, self.new, self.rename):
            control.disabled = is_busy
        self.delete.disabled = is_busy or not has_file
        self.settle()

    def settle(self) -> None:
        """End what was asked, without doing it."""
        self._ask(title=False, deletion=False)

    def _ask(self, *, title: bool, deletion: bool) -> None:
        for control, is_shown in (
            (self.menu, not title),
            (self.title, title),
            (self.new, not title and not deletion),
            (self.rename, not title and not deletion),
            (self.save, title),
            (self.delete, not title and not deletion),
            (self.confirm, deletion),
            (self.keep, title or deletion),
        ):
            show(control, is_shown)

    def _ask_title(self) -> None:
        self.title.value = str(self.menu.label or "")
        self._ask(title=True, deletion=False)
        self.title.focus()

    def _titled(self) -> None:
        self.settle()
        self._rename_to(str(self.title.value))

    def _ask_to_delete(self) -> None:
        self._ask(title=False, deletion=True)
        self.keep.focus()

    def _deleted(self) -> None:
        self.settle()
        self._delete_it()

    def _chosen(self, change: dict[str, Any]) -> None:
        if not self._is_offering and change["new"] is not None:
            self._home.do(lambda: self._choose(str(change["new"])))


def _distinct(options: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A menu tells its lines apart by their text."""
    seen: dict[str, int] = {}
    made = []
    for label, value in options:
        seen[label] = seen.get(label, 0) + 1
        made.append((label if seen[label] == 1 else f"{label} ({seen[label]})", value))
    return made
