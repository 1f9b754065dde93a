"""Where a message is written, and the buttons around it; knows nothing of endpoints."""

from collections.abc import Callable

import ipywidgets as widgets

from toolkit.widgets.controls import button, show, toggle
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import TEXT_GRACE_S, on_enter

LATE_TEXT_S = 0.5


class Composer:
    """A line with Enter, or a box for several lines, and Send, Stop, Retry, Edit, Clear.

    The callbacks are called in the order of the person's actions; `send` gets the
    text, and the draft is empty by then.
    """

    def __init__(
        self,
        home: HomeLoop,
        *,
        send: Callable[[str], None],
        stop: Callable[[], None],
        retry: Callable[[], None],
        edit: Callable[[], None],
        clear: Callable[[], None],
        takeaway: Callable[[bool], None],
        settings: Callable[[bool], None],
    ) -> None:
        self._home = home
        self._send_text = send
        self._clear_all = clear
        self.line = widgets.Text(placeholder="Message, then Enter")
        on_enter(home, self.line, self._submit)
        self.box = widgets.Textarea(
            placeholder="Message of several lines, then Send", rows=4, continuous_update=False
        )
        for field in (self.line, self.box):
            field.layout = widgets.Layout(flex="1 1 auto")
            field.description = "Message"
            field.style.description_width = "62px"
        self.send = button(
            home, "Send", "Send the message", self._clicked, style="primary", after_s=TEXT_GRACE_S
        )
        self.stop = button(home, "Stop", "Stop the reply and free its slot", stop)
        # The options that it is asked with may just have been typed.
        self.retry = button(
            home, "Retry", "Ask the last message again", retry, after_s=TEXT_GRACE_S
        )
        self.edit = button(home, "Edit last", "Take the last message back and edit it", edit)
        self.clear = button(home, "Clear", "Remove the conversation", self._ask_to_clear)
        self.confirm = button(home, "Clear all", "Yes, remove it", self._confirmed, style="danger")
        self.keep = button(home, "Keep", "No, keep the conversation", self._kept)
        # Not through the loop: a draft of several lines is put into the box at once.
        self.lines = toggle(home, "Several lines", "Write in a box of several lines")
        self.lines.observe(lambda change: self._show_box(change["new"]), "value")
        self.takeaway = toggle(
            home, "Copy, export", "Copy a reply or the code for it, export all", takeaway
        )
        self.settings = toggle(home, "Settings", "Model, system prompt and options", settings)
        self._show_confirm(False)
        show(self.box, False)
        writing = widgets.HBox(
            [self.line, self.box, self.send, self.stop],
            layout=widgets.Layout(align_items="flex-end"),
        )
        acting = widgets.HBox(
            [
                self.retry,
                self.edit,
                self.clear,
                self.confirm,
                self.keep,
                widgets.Box(layout=widgets.Layout(flex="1 1 auto")),
                self.lines,
                self.takeaway,
                self.settings,
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        self.view = widgets.VBox([writing, acting])

    @property
    def draft(self) -> str:
        """What is written and not sent."""
        return str(self._field.value)

    @draft.setter
    def draft(self, text: str) -> None:
        if "\n" in text:
            self.lines.value = True
        self._field.value = text

    def enable(self, *, is_busy: bool, has_turns: bool) -> None:
        """Offer what can be done now."""
        self.send.disabled = is_busy
        self.stop.disabled = not is_busy
        self.stop.button_style = "warning" if is_busy else ""
        for each in (self.retry, self.edit, self.clear):
            each.disabled = is_busy or not has_turns
        self._kept()

    @property
    def _field(self) -> widgets.Text | widgets.Textarea:
        return self.box if self.lines.value else self.line

    def _clicked(self) -> None:
        if self.draft.strip():
            self._submit()
        else:  # nobody sends nothing: the text is on its way
            self._home.later(LATE_TEXT_S, self._submit)

    def _submit(self) -> None:
        text = self.draft
        if text.strip():
            self._field.value = ""
            self._send_text(text)

    def _show_box(self, is_shown: bool) -> None:
        text = self.line.value or self.box.value
        show(self.box, is_shown)
        show(self.line, not is_shown)
        self.line.value, self.box.value = "", ""
        self._field.value = text

    def _ask_to_clear(self) -> None:
        self._show_confirm(True)
        self.keep.focus()

    def _confirmed(self) -> None:
        self._kept()
        self._clear_all()

    def _kept(self) -> None:
        self._show_confirm(False)

    def _show_confirm(self, is_shown: bool) -> None:
        show(self.clear, not is_shown)
        show(self.confirm, is_shown)
        show(self.keep, is_shown)
