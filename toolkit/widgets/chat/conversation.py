"""What was said, without how it looks: turns, and what of them the model is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from toolkit.client import ChatStats, Message
from toolkit.safetext import cleaned
from toolkit.widgets.chat.pictures import Picture

MAX_TITLE_CHARS = 60
UNTITLED = "New conversation"


class TurnState(StrEnum):
    """How far a reply has come."""

    WAITING = "waiting"
    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class Turn:
    """What a person asked and what came back.

    `waited_s` is how long ago it was sent, or how long it took; `usd` the most it has cost.
    """

    prompt: str
    model: str
    pictures: tuple[Picture, ...] = ()
    state: TurnState = TurnState.WAITING
    stats: ChatStats | None = None
    error: str = ""
    hint: str = ""
    details: str = ""
    num_chunks: int = 0
    waited_s: float = 0.0
    usd: float | None = None
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The reply so far."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return "".join(self._thinking)

    def add(self, text: str, thinking: str = "") -> None:
        """Take a piece of the reply."""
        if text:
            self._text.append(text)
        if thinking:
            self._thinking.append(thinking)
        if text or thinking:
            self.num_chunks += 1
            self.state = TurnState.STREAMING

    def fail(self, error: str, hint: str, details: str = "") -> None:
        """End the turn with an error; what came stays."""
        self.state, self.error, self.hint, self.details = TurnState.FAILED, error, hint, details

    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in (TurnState.WAITING, TurnState.STREAMING)


class Said(NamedTuple):
    """One message of a conversation."""

    role: str
    text: str
    pictures: tuple[Picture, ...] = ()


class Conversation:
    """The turns so far. What was stopped counts as said; what failed without text does not.

    Its title is what it was given, or else the beginning of the first message. `system` is the
    system prompt, empty for the model's own.
    """

    def __init__(
        self,
        turns: Sequence[Turn] = (),
        *,
        title: str = "",
        system: str = "",
        created_at: datetime | None = None,
    ) -> None:
        self.turns = list(turns)
        self.given_title = title
        self.system = system
        self.created_at = created_at or datetime.now(UTC)

    @property
    def title(self) -> str:
        """One line for lists of conversations."""
        said = self.turns[0].prompt if self.turns else ""
        line = " ".join(cleaned(self.given_title or said).split())
        cut = line if len(line) <= MAX_TITLE_CHARS else f"{line[: MAX_TITLE_CHARS - 1].rstrip()}…"
        return cut or UNTITLED

    def begin(self, prompt: str, model: str, pictures: Sequence[Picture] = ()) -> Turn:
        """A new turn at the end."""
        turn = Turn(prompt, model, tuple(pictures))
        self.turns.append(turn)
        return turn

    def said(self, until: Turn | None = None) -> list[Said]:
        """What counts when the turn `until` (or the last) is answered, its message included."""
        last = until or (self.turns[-1] if self.turns else None)
        said = [Said("system", self.system)] if self.system else []
        for turn in self.turns:
            if turn is not last and not turn.text:
                continue
            said.append(Said("user", turn.prompt, turn.pictures))
            if turn is last:
                break
            said.append(Said("assistant", turn.text))
        return said

    def messages(self) -> list[Message]:
        """What the model is sent to answer the last turn."""
        return [
            Message(role, text, tuple(p.base64 for p in shown)) for role, text, shown in self.said()
        ]
