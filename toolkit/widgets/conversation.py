"""What was said, without how it looks: turns, and what of them the model is sent."""

from dataclasses import dataclass, field
from enum import StrEnum

from toolkit.client import ChatStats, Message


class TurnState(StrEnum):
    """How far a reply has come."""

    WAITING = "waiting"
    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class Turn:
    """What a person asked and what came back."""

    prompt: str
    model: str
    state: TurnState = TurnState.WAITING
    stats: ChatStats | None = None
    error: str = ""
    hint: str = ""
    num_chunks: int = 0
    waited_s: float = 0.0
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

    def fail(self, error: str, hint: str) -> None:
        """End the turn with an error; what came stays."""
        self.state, self.error, self.hint = TurnState.FAILED, error, hint

    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in (TurnState.WAITING, TurnState.STREAMING)


class Conversation:
    """The turns so far. What was stopped counts as said; what failed without text does not."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def begin(self, prompt: str, model: str) -> Turn:
        """A new turn at the end."""
        turn = Turn(prompt, model)
        self.turns.append(turn)
        return turn

    def take_back(self) -> Turn | None:
        """Remove the last turn and return it."""
        return self.turns.pop() if self.turns else None

    def messages(self) -> list[Message]:
        """What the model is sent to answer the last turn."""
        sent: list[Message] = []
        for turn in self.turns:
            is_last = turn is self.turns[-1]
            if not is_last and not turn.text:
                continue
            sent.append(Message("user", turn.prompt))
            if not is_last:
                sent.append(Message("assistant", turn.text))
        return sent
