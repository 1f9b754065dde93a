"""What a person takes away: a reply or a block of its code to copy, the call that made it,
and the conversation as a file.

Widgets without a script of their own cannot write to the clipboard. So the text stands
in a field from which it is copied with the keys that everybody knows: Ctrl+A, Ctrl+C.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from toolkit.client import Endpoint
from toolkit.errors import ToolkitError
from toolkit.safetext import cleaned
from toolkit.widgets.chat.conversation import Conversation, Turn
from toolkit.widgets.chat.snippet import Client, snippet
from toolkit.widgets.controls import button, show
from toolkit.widgets.markdown import code_blocks
from toolkit.widgets.style import classed
from toolkit.widgets.task import HomeLoop

LABEL = "112px"
REPLY = "the reply"
HELP = (
    '<div class="akl-hint">Click into the text or reach it with Tab, then Ctrl+A and Ctrl+C '
    "(⌘A, ⌘C). It is made anew with each choice above.</div>"
)


class Takeaway:
    """Hidden until `toggle`d. `shown` says what there is when a person looks."""

    def __init__(
        self,
        home: HomeLoop,
        endpoint: Endpoint,
        *,
        conversation: Callable[[], Conversation],
        options: Callable[[], Mapping[str, Any]],
        export: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._conversation = conversation
        self._options = options
        self._is_filling = False
        self.turn = widgets.Dropdown(description="From")
        self.form = widgets.Dropdown(description="Copy")
        self.text = classed(widgets.Textarea(description="Text to copy", rows=8), "akl-copy")
        for field in (self.turn, self.form, self.text):
            field.style.description_width = LABEL
            field.layout.width = "auto"
        self.turn.observe(lambda _: home.do(self._turn_chosen), "value")
        self.form.observe(lambda _: home.do(self._fill), "value")
        self.export = button(home, "Export to Markdown", "Write the conversation to a file", export)
        self.export.layout.align_self = "flex-start"
        self.view = widgets.VBox([self.turn, self.form, self.text, widgets.HTML(HELP), self.export])
        self.toggle(False)

    def toggle(self, is_shown: bool) -> None:
        """Show what there is to take, or hide it."""
        show(self.view, is_shown)
        self.is_shown = is_shown
        self.refresh()

    def refresh(self) -> None:
        """Bring the choices up to date with the conversation; the last reply is chosen."""
        turns = self._conversation().turns if self.is_shown else []
        options = [(_label(number, turn), number - 1) for number, turn in enumerate(turns, 1)]
        self._offer(self.turn, options[::-1])
        self.export.disabled = not turns
        self._turn_chosen()

    def _turn_chosen(self) -> None:
        turn = self._turn()
        blocks = code_blocks(turn.text) if turn else []
        options: list[tuple[str, object]] = [("the reply as text", REPLY)] if turn else []
        for number, (language, code) in enumerate(blocks, 1):
            options.append((f"code block {number}{f' ({language})' if language else ''}", code))
        if turn:
            options += [(f"this request as code: {client}", client) for client in Client]
        self._offer(self.form, options)
        self._fill()

    def _fill(self) -> None:
        if not self._is_filling:
            turn, form = self._turn(), self.form.value
            self.text.value = self._text(turn, form) if turn and form is not None else ""

    def _text(self, turn: Turn, form: object) -> str:
        if not isinstance(form, Client):
            return cleaned(turn.text) if form == REPLY else str(form)
        try:
            options = self._options()
        except ToolkitError as error:
            return f"# {error.message} {error.hint}"
        said = self._conversation().said(turn)
        return snippet(form, self._endpoint, turn.model, said, options)

    def _turn(self) -> Turn | None:
        turns, index = self._conversation().turns, self.turn.value
        return turns[index] if index is not None and index < len(turns) else None

    def _offer(self, menu: widgets.Dropdown, options: Sequence[tuple[str, object]]) -> None:
        """Choices of a menu, the first chosen, without acting on that."""
        self._is_filling = True
        try:
            menu.options = options
            menu.value = options[0][1] if options else None
        finally:
            self._is_filling = False


def _label(number: int, turn: Turn) -> str:
    line = " ".join(cleaned(turn.prompt).split())
    return f"reply {number}: {line if len(line) <= 50 else line[:49] + '…'}"
