"""The chat panel: a conversation with one endpoint, streamed, with figures for each reply.

Composed of core widgets, so it works wherever they do. No secret is in any widget: the
panel holds an `Endpoint` and never asks for a key.
"""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.client import ChatStats, Endpoint
from toolkit.errors import EndpointError, ToolkitError, UsageError
from toolkit.safetext import cleaned, well_formed
from toolkit.widgets.chat import bubble
from toolkit.widgets.chat.answering import Answering
from toolkit.widgets.chat.attaching import Attaching
from toolkit.widgets.chat.composer import Composer
from toolkit.widgets.chat.conversation import Conversation, Turn
from toolkit.widgets.chat.export import as_markdown
from toolkit.widgets.chat.facts import EndpointFacts
from toolkit.widgets.chat.keeping import Keeping
from toolkit.widgets.chat.look import chat_sheet
from toolkit.widgets.chat.picker import ConversationPicker
from toolkit.widgets.chat.pictures import Picture
from toolkit.widgets.chat.revising import Revising
from toolkit.widgets.chat.settings import ChatSettings
from toolkit.widgets.chat.takeaway import Takeaway
from toolkit.widgets.chat.transcript import Transcript
from toolkit.widgets.notice import notice
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop

FOLDER = "conversations"


class ChatPanel:
    """A conversation with `endpoint`; show `view` (or the panel itself) in a cell.

    `ask` does from code what the person does with Enter. Conversations are JSON files in
    `folder`, relative to where the kernel runs: the folder of the notebook in JupyterLab and
    Voila, that of the caller under papermill. They are kept from the moment a person takes
    part; `conversation` names one to open (or to begin), which is kept in any case.
    `usd_per_hour` is what the endpoint costs, where its own books do not say.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        system: str = "",
        temperature: float = 0.8,
        folder: str | Path = FOLDER,
        conversation: str = "",
        usd_per_hour: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.keeping = Keeping(folder)
        self.revising = Revising()
        self._home = HomeLoop()
        self._task = BackgroundTask(self._failed)
        self.facts = EndpointFacts(endpoint, usd_per_hour)
        self.settings = ChatSettings(
            self._home, endpoint.model, system, temperature, lambda: self._looking.start(self._see)
        )
        # Without these facts the endpoint's own model is still offered, without pictures.
        self._looking = BackgroundTask(lambda _error: None)
        self._answering = Answering(endpoint, self.facts, self._paint, self._keep)
        self._build()
        if conversation:
            self.keeping.open_titled(conversation)
            self.settings.system = self.conversation.system or system
        self._show_all()
        self._home.do(lambda: self._looking.start(self._look))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""
        return self.keeping.conversation

    @property
    def reply(self) -> str:
        """The last reply as plain text, without what could steer a terminal."""
        return cleaned(self.conversation.turns[-1].text) if self.conversation.turns else ""

    async def ask(self, prompt: str, *, pictures: Sequence[Picture] = ()) -> ChatStats:
        """Send a message and wait for the whole reply, shown in the panel as it comes.

        Returns its figures. Raises the error that the panel shows.
        """
        if self._task.is_running or not prompt.strip():
            raise UsageError("Nothing to ask, or a reply is under way.", hint="Await it first.")
        self.revising.give_up()
        turn = self._begin(prompt, tuple(pictures))
        await self._task.wait()
        if turn.stats is None:
            raise EndpointError(turn.error or "The reply was stopped.", hint=turn.hint)
        return turn.stats

    def stop(self) -> None:
        """End the reply under way; what came is kept and marked. Does not block."""
        self._task.cancel()

    def export(self) -> Path:
        """Write the conversation as Markdown beside the others; hostile text stays text."""
        name = self.keeping.export_name()
        return self.keeping.folder.put_text(name, as_markdown(self.conversation))

    def _build(self) -> None:
        home = self._home
        self._head = widgets.HTML()
        self._status = classed(widgets.HTML(), "akl-status")
        self._transcript = Transcript(home, self._send)
        self.picker = ConversationPicker(
            home,
            choose=lambda name: self._switch(lambda: self.keeping.choose(name)),
            begin=lambda: self._switch(self.keeping.begin),
            rename=lambda title: self._switch(lambda: self.keeping.rename(title)),
            delete=lambda: self._switch(self.keeping.delete),
        )
        self.attaching = Attaching(home, self._failed)
        self.takeaway = Takeaway(
            home,
            self.endpoint,
            conversation=lambda: self.conversation,
            options=self.settings.options,
            export=self._export,
        )
        self.composer = Composer(
            home,
            send=self._send,
            stop=self.stop,
            retry=self._retry,
            edit=self._edit_last,
            clear=lambda: self._switch(self.keeping.clear),
            takeaway=self.takeaway.toggle,
            settings=self.settings.toggle,
        )
        parts = [
            *(sheet(), chat_sheet(), self._head, self.picker.view),
            *(self._transcript.view, self._status),
            classed(self.attaching.view, "akl-attach"),
            classed(self.composer.view, "akl-foot"),
            classed(self.takeaway.view, "akl-settings"),
            classed(self.settings.view, "akl-settings"),
        ]
        self.view = classed(widgets.VBox(parts), "akl", "akl-chat")

    # -- asking ---------------------------------------------------------------------

    def _send(self, text: str) -> None:
        if self._is_busy():
            self.composer.draft = text
        elif text.strip():
            self.keeping.is_on = True
            self._begin(text, self.attaching.take())

    def _begin(self, text: str, pictures: tuple[Picture, ...]) -> Turn:
        self.revising.send(self.conversation)
        self.conversation.system = self.settings.system
        turn = self.conversation.begin(well_formed(text).strip(), self.settings.model, pictures)
        self._say("")
        self._keep()
        self._task.start(lambda: self._reply(turn))
        self._show_all()
        return turn

    async def _reply(self, turn: Turn) -> None:
        try:
            await self._answering.answer(turn, self.conversation, self.settings)
        finally:
            is_lost = self.revising.settle(self.conversation)
            self._keep()
            self._show_all(is_busy=False)
            if is_lost:
                self._tell_lost(turn)

    def _tell_lost(self, turn: Turn) -> None:
        """Nothing came for a message that was asked again: what it replaced is back."""
        if self.revising.count:  # it was edited, and still is
            self.composer.draft = "\n".join(filter(None, (turn.prompt, self.composer.draft)))
            self.attaching.put_back(turn.pictures)
        hint = f"{turn.hint} Nothing is lost: what it was to replace is kept.".strip()
        self._status.value = notice(turn.error or "The reply was stopped.", hint, turn.details)

    def _retry(self) -> None:
        if self._is_busy():
            return
        self.revising.give_up()
        if turn := self.revising.take_back(self.conversation):
            self.keeping.is_on = True
            self._begin(turn.prompt, turn.pictures)

    def _edit_last(self) -> None:
        if not self._is_busy() and (turn := self.revising.take_back(self.conversation)):
            self.composer.draft = turn.prompt
            self.attaching.put_back(turn.pictures)
            self._show_all()
            self._say("Edit the message and send it again: that replaces it.")

    def _is_busy(self) -> bool:
        """Whether a reply is under way; says so, because a click may overtake the buttons."""
        if self._task.is_running:
            self._say("A reply is under way: stop it, or wait for its end.")
        return self._task.is_running

    # -- conversations --------------------------------------------------------------

    def _switch(self, act: Callable[[], str | None]) -> None:
        """Do something to the conversation, and show what there is then."""
        if not self._is_busy():
            self._say("")
            self.revising.give_up()
            self._try(act)
            if self.conversation.turns:
                self.settings.system = self.conversation.system
        self._show_all()

    def _keep(self) -> None:
        """Save the conversation, unless its file still has what is being replaced."""
        turns = self.conversation.turns
        if not (turns and self.revising.holds_back(turns[-1])):
            self._try(self.keeping.save)

    def _export(self) -> None:
        self._try(lambda: f"Written to {self.export()}")

    def _try(self, act: Callable[[], str | None]) -> None:
        """Do what the disk may refuse, and say what there is to say of it."""
        try:
            told = act()
        except ToolkitError as error:
            self._failed(error)
        else:
            if told:
                self._say(told)

    # -- what is shown --------------------------------------------------------------

    def _show_all(self, *, is_busy: bool | None = None) -> None:
        """Bring every part up to date with the conversation and what can be done now."""
        busy = self._task.is_running if is_busy is None else is_busy
        turns = self.revising.in_sight(self.conversation)
        self._transcript.show(turns)
        self.composer.enable(is_busy=busy, has_turns=bool(turns))
        self.picker.enable(is_busy=busy, has_file=self.keeping.place is not None)
        self._try(lambda: self.picker.offer(self.keeping.choices()))
        self.settings.tell_place(self.keeping.where())
        self.settings.tell_price(self.facts.usd_per_hour)
        if not busy:
            self.takeaway.refresh()
        self._show_head("answering" if busy else "ready")

    def _paint(self, turn: Turn) -> None:
        self._transcript.paint(turn)

    async def _look(self) -> None:
        """What the endpoint has: its price, its models, and whether the chosen one sees."""
        self.settings.tell_price(await self.facts.price())
        self._show_head("answering" if self._task.is_running else "ready")
        self.settings.offer(await self.facts.models())
        await self._see()

    async def _see(self) -> None:
        """Offer pictures where the chosen model takes them; it may change meanwhile."""
        seen = None
        while seen != self.settings.model:
            seen = self.settings.model
            self.attaching.offer(await self.facts.can_see(seen))

    def _failed(self, error: ToolkitError) -> None:
        self._status.value = notice(error.message, error.hint)

    def _say(self, text: str) -> None:
        self._status.value = html.escape(cleaned(text))

    def _show_head(self, state: str) -> None:
        name, url = self.endpoint.name or "endpoint", self.endpoint.url
        self._head.value = bubble.head(name, url, self.facts.usd_per_hour, state)
