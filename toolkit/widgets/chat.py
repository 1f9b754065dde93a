"""The chat panel: a conversation with one endpoint, streamed, with figures for each reply.

Composed of core widgets, so it works wherever they do. The transcript stays at its
end without a script: its box lays its content out from the bottom. No secret is in
any widget: the panel holds an `Endpoint` and never asks for a key.
"""

import asyncio
import html
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import ipywidgets as widgets

from toolkit.client import ChatStats, Endpoint
from toolkit.errors import EndpointError, ToolkitError, UsageError
from toolkit.safetext import cleaned
from toolkit.widgets import bubble
from toolkit.widgets.composer import Composer
from toolkit.widgets.conversation import Conversation, Turn, TurnState
from toolkit.widgets.settings import ChatSettings
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop, ticking

STARTERS = (
    "Explain in two sentences what you are good at.",
    "Write a haiku about renting a computer by the hour.",
    "List three questions I should ask before trusting a model.",
)
TRANSCRIPT_HEIGHT = "440px"


class ChatPanel:
    """A conversation with `endpoint`; show `view` (or the panel itself) in a cell.

    `ask` does from code what the person does with Enter.
    """

    def __init__(self, endpoint: Endpoint, *, system: str = "", temperature: float = 0.8) -> None:
        self.endpoint = endpoint
        self.conversation = Conversation()
        self.settings = ChatSettings(endpoint.model, system, temperature)
        self._home = HomeLoop()
        self._task = BackgroundTask(self._failed)
        # Without the list the endpoint's own model is still offered.
        self._models = BackgroundTask(lambda _error: None)
        self._bubbles: list[tuple[Turn, widgets.HTML, widgets.HTML]] = []
        self._build()
        self._show_state("ready")
        self._home.do(lambda: self._models.start(self._load_models))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    @property
    def reply(self) -> str:
        """The last reply as plain text, without what could steer a terminal."""
        return cleaned(self.conversation.turns[-1].text) if self.conversation.turns else ""

    async def ask(self, prompt: str) -> ChatStats:
        """Send a message and wait for the whole reply, shown in the panel as it comes.

        Returns its figures. Raises the error that the panel shows.
        """
        if self._task.is_running or not prompt.strip():
            raise UsageError("Nothing to ask, or a reply is under way.", hint="Await it first.")
        turn = self._begin(prompt)
        await self._task.wait()
        if turn.stats is None:
            raise EndpointError(turn.error or "The reply was stopped.", hint=turn.hint)
        return turn.stats

    def stop(self) -> None:
        """End the reply under way; what came is kept and marked. Does not block."""
        self._task.cancel()

    def _build(self) -> None:
        self._head = widgets.HTML()
        self._starters = classed(
            widgets.HBox([self._starter(text) for text in STARTERS]), "akl-starters"
        )
        self._messages = widgets.VBox(layout=widgets.Layout(flex="0 0 auto", overflow="visible"))
        self._transcript = classed(
            widgets.Box(
                [self._messages],
                layout=widgets.Layout(
                    height=TRANSCRIPT_HEIGHT,
                    flex_flow="column-reverse",
                    overflow="hidden auto",
                ),
            ),
            "akl-log",
        )
        self._empty = widgets.HTML(
            '<div class="akl-empty"><b>Ask your model something</b>'
            "The conversation stays between this notebook and the endpoint.</div>"
        )
        self._status = classed(widgets.HTML(), "akl-status")
        self.composer = Composer(
            self._home,
            send=self._send,
            stop=self.stop,
            retry=self._retry,
            edit=self._edit_last,
            clear=self._clear,
            settings=self.settings.toggle,
        )
        parts = [
            sheet(),
            self._head,
            self._transcript,
            self._status,
            classed(self.composer.view, "akl-foot"),
            classed(self.settings.view, "akl-settings"),
        ]
        self.view = classed(widgets.VBox(parts), "akl", "akl-chat")
        self._lay_out()

    def _starter(self, text: str) -> widgets.Button:
        button = widgets.Button(description=text, tooltip="Send this message")
        button.on_click(lambda _: self._home.do(lambda: self._send(text)))
        return button

    def _lay_out(self) -> None:
        """Show the bubbles of the turns there are, or the invitation."""
        shown = [widget for _, asked, answered in self._bubbles for widget in (asked, answered)]
        self._messages.children = shown or [self._empty, self._starters]
        self.composer.enable(is_busy=self._task.is_running, has_turns=bool(self._bubbles))

    def _send(self, text: str) -> None:
        if self._is_busy():
            self.composer.draft = text
        elif text.strip():
            self._begin(text)

    def _is_busy(self) -> bool:
        """Whether a reply is under way; says so, because a click may overtake the buttons."""
        if self._task.is_running:
            self._say("A reply is under way: stop it, or wait for its end.")
        return self._task.is_running

    def _begin(self, text: str) -> Turn:
        turn = self.conversation.begin(text.strip(), self.settings.model)
        asked, answered = widgets.HTML(bubble.question(turn)), widgets.HTML(bubble.reply(turn))
        self._bubbles.append((turn, classed(asked, "akl-msg"), classed(answered, "akl-msg")))
        self._say("")
        self._task.start(lambda: self._reply(turn))
        self._lay_out()
        return turn

    async def _reply(self, turn: Turn) -> None:
        began = time.monotonic()

        def paint() -> None:
            turn.waited_s = time.monotonic() - began
            self._paint(turn)

        self._show_state("answering")
        try:
            async with ticking(paint):
                await self._stream(turn, paint)
        except asyncio.CancelledError:
            turn.state = TurnState.STOPPED
        except ToolkitError as error:
            turn.fail(error.message, error.hint)
        finally:
            if not turn.is_over():
                turn.fail("This panel failed.", "The status line says how.")
            self._paint(turn)
            self._show_state("ready")
            self.composer.enable(is_busy=False, has_turns=True)

    async def _stream(self, turn: Turn, paint: Callable[[], None]) -> None:
        stream = self.endpoint.chat(
            self.conversation.messages(),
            model=turn.model,
            system=self.settings.system,
            options=self.settings.options(),
        )
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                turn.add(chunk.text, chunk.thinking)
                if turn.num_chunks == 1:
                    paint()
                if chunk.stats is not None:
                    turn.stats, turn.state = chunk.stats, TurnState.COMPLETE

    def _paint(self, turn: Turn) -> None:
        """Bring the bubble of `turn` up to date, if anything changed."""
        for shown, _, answered in self._bubbles:
            if shown is turn:
                value = bubble.reply(turn)
                if answered.value != value:
                    answered.value = value

    def _retry(self) -> None:
        turn = self._take_back()
        if turn is not None:
            self._send(turn.prompt)

    def _edit_last(self) -> None:
        turn = self._take_back()
        if turn is not None:
            self.composer.draft = turn.prompt
            self._say("Edit the message and send it again.")

    def _take_back(self) -> Turn | None:
        """Remove the last turn, unless it is being answered."""
        if self._is_busy() or not self._bubbles:
            return None
        self._bubbles.pop()
        turn = self.conversation.take_back()
        self._lay_out()
        return turn

    def _clear(self) -> None:
        if self._is_busy():
            return
        self._bubbles.clear()
        self.conversation = Conversation()
        self._say("")
        self._lay_out()

    async def _load_models(self) -> None:
        names = [str(model.get("name", "")) for model in await self.endpoint.tags()]
        self.settings.offer(cleaned(name) for name in names if name)

    def _failed(self, error: ToolkitError) -> None:
        self._status.value = bubble.notice(error.message, error.hint)

    def _say(self, text: str) -> None:
        self._status.value = html.escape(text)

    def _show_state(self, state: str) -> None:
        name = html.escape(self.endpoint.name or "endpoint")
        self._head.value = (
            f'<div class="akl-head"><b>{name}</b><span>{html.escape(self.endpoint.url)}</span>'
            f'<span class="akl-state">{state}</span></div>'
        )
