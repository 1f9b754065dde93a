"""The pieces of a reply as events: thoughts, answer and calls told apart."""

from server.api.events import Called, Delta, Said, Thinking
from server.chat.parts import Content, Part, Thought
from server.chat.reply import ReplyParser
from server.chat.tools import ToolCall
from server.engine.types import Logprob, Piece


class Reader:
    """For one reply. Without a parser all of its text is the answer.

    Logprobs go with the first event that follows the text of their tokens.
    `thinking_tokens` counts those of the thoughts so far, with the tags or headers that they
    stand in, which are known to be such when they are whole.
    """

    def __init__(self, parser: ReplyParser | None = None, *, most_calls: int | None = None) -> None:
        """At most `most_calls` calls are told; the model may say more of them."""
        self._parser = parser
        self._most_calls = most_calls
        self._num_calls = 0
        self._logprobs: tuple[Logprob, ...] = ()
        self._undecided_tokens = 0
        self.thinking_tokens = 0

    def feed(self, piece: Piece) -> list[Said]:
        """What is certain behind this piece."""
        if self._parser is None:
            if piece.text or piece.logprobs:
                return [Delta(piece.text, piece.logprobs)]
            return []
        self._logprobs += piece.logprobs
        was_thinking = self._parser.is_thinking
        parts = self._parser.feed(piece.text)
        has_thought = bool(was_thinking) or any(isinstance(part, Thought) for part in parts)
        self._count(len(piece.tokens), has_thought, self._parser.is_thinking)
        return self._events(parts)

    def finish(self) -> list[Said]:
        """What is left at the end."""
        if self._parser is None:
            return []
        events = self._events(self._parser.finish())
        if self._logprobs:
            events.append(Delta("", self._take_logprobs()))
        return events

    def _count(self, num_tokens: int, has_thought: bool, is_thinking: bool | None) -> None:
        """Count the tokens of a piece: whether it is part of a thought, and whether what
        follows it is one."""
        self._undecided_tokens += num_tokens
        if has_thought or is_thinking:
            self.thinking_tokens += self._undecided_tokens
        if has_thought or is_thinking is not None:
            self._undecided_tokens = 0

    def _events(self, parts: list[Part]) -> list[Said]:
        return [event for part in parts if (event := self._event(part))]

    def _event(self, part: Part) -> Said | None:
        match part:
            case Content(text):
                return Delta(text, self._take_logprobs())
            case Thought(text):
                return Thinking(text, self._take_logprobs())
            case ToolCall() as call:
                if self._num_calls == self._most_calls:
                    return None
                self._num_calls += 1
                return Called(self._num_calls - 1, call, self._take_logprobs())

    def _take_logprobs(self) -> tuple[Logprob, ...]:
        taken, self._logprobs = self._logprobs, ()
        return taken
