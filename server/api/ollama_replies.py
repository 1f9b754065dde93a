"""Ollama's replies: events of the core as NDJSON chunks or as one object."""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.api import gojson
from server.api import ollama_types as wire
from server.api.described import NDJSON_TYPE
from server.api.events import Called, Delta, Done, Event, Thinking
from server.engine.types import FinishReason, Logprob, TokenLogprob
from server.errors import NotFound, ServerError


def now() -> str:
    """The time as Go writes it: RFC 3339, UTC, nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def encode_error(error: ServerError) -> bytes:
    """`{"error": text}`. The next step goes into the text, except where Ollama's own is known
    to clients."""
    text = error.message
    if error.hint and not isinstance(error, NotFound):
        text = f"{text} ({error.hint})"
    return gojson.encode(wire.Error(error=text))


class _Gathered(msgspec.Struct):
    """What a reply says, in a piece of it or as a whole."""

    text: str = ""
    thinking: str = ""
    calls: list[wire.ToolCall] = []
    logprobs: list[wire.Logprob] = []

    def add(self, event: Event) -> None:
        """Take an event over, if it says something."""
        match event:
            case Delta():
                self.text += event.text
            case Thinking():
                self.thinking += event.text
            case Called():
                self.calls.append(_call(event))
            case _:
                return
        self.logprobs += [_logprob(one) for one in event.logprobs]


class Encoder:
    """What the replies of generate and chat share; `model` is echoed as it was asked for."""

    stream_type = NDJSON_TYPE

    def __init__(self, model: str) -> None:
        self._model = model

    def chunk(self, said: _Gathered, **fields: Any) -> bytes:
        """One object; `fields` are those that may be left out."""
        raise NotImplementedError

    def last(self, done: Done, said: _Gathered) -> bytes:
        """The object with the reason and the numbers."""
        return self.chunk(said, done=True, **_numbers(done))

    def status(self, reason: str) -> bytes:
        """The reply to a request that only loads or unloads."""
        return self.chunk(_Gathered(), done=True, done_reason=reason)

    def rendered(self, text: str) -> bytes:
        """The reply to a request that only renders."""
        return self.chunk(_Gathered(), done=False, debug_info=wire.DebugInfo(text))

    def frame(self, event: Event) -> bytes:
        match event:
            case Delta() | Thinking() | Called():
                said = _Gathered()
                said.add(event)
                return self.chunk(said, done=False) + b"\n"
            case Done():
                return self.last(event, _Gathered()) + b"\n"
            case _:
                return b""

    def whole(self, events: list[Event]) -> bytes:
        said = _Gathered()
        for event in events:
            said.add(event)
        (done,) = (event for event in events if isinstance(event, Done))
        return self.last(done, said)

    def heartbeat(self) -> bytes:
        """A chunk without content: clients choke on an empty line."""
        return self.chunk(_Gathered(), done=False) + b"\n"

    def failure(self, error: ServerError) -> bytes:
        return encode_error(error) + b"\n"

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)


class GenerateEncoder(Encoder):
    """Replies of /api/generate. `with_context`: the last one carries the tokens."""

    def __init__(self, model: str, *, with_context: bool) -> None:
        super().__init__(model)
        self._with_context = with_context

    def chunk(self, said: _Gathered, **fields: Any) -> bytes:
        return gojson.encode(
            wire.Generated(
                model=self._model,
                created_at=now(),
                response=said.text,
                thinking=said.thinking,
                logprobs=said.logprobs,
                **fields,
            )
        )

    def last(self, done: Done, said: _Gathered) -> bytes:
        context = done.tokens if self._with_context else []
        return self.chunk(said, done=True, context=context, **_numbers(done))


class ChatEncoder(Encoder):
    """Replies of /api/chat."""

    def chunk(self, said: _Gathered, **fields: Any) -> bytes:
        message = wire.Reply(
            role="assistant", content=said.text, thinking=said.thinking, tool_calls=said.calls
        )
        return gojson.encode(
            wire.Chatted(
                model=self._model,
                created_at=now(),
                message=message,
                logprobs=said.logprobs,
                **fields,
            )
        )


def _call(event: Called) -> wire.ToolCall:
    function = wire.CalledFunction(
        index=event.index, name=event.call.name, arguments=event.call.arguments
    )
    return wire.ToolCall(id=event.call.id, function=function)


def _numbers(done: Done) -> dict[str, Any]:
    reason = "length" if done.reason is FinishReason.LENGTH else "stop"
    return {
        "done_reason": reason,
        "total_duration": done.total_ns,
        "load_duration": done.load_ns,
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": done.prompt_ns,
        "eval_count": done.output_tokens,
        "eval_duration": done.output_ns,
        "truncated": done.truncated_tokens,
        "shifted": done.shifted_tokens,
    }


def _logprob(one: Logprob) -> wire.Logprob:
    chosen = one.chosen
    return wire.Logprob(
        token=chosen.text,
        logprob=chosen.logprob,
        bytes=list(chosen.raw),
        top_logprobs=[_token(token) for token in one.top],
    )


def _token(token: TokenLogprob) -> wire.TokenLogprob:
    return wire.TokenLogprob(token=token.text, logprob=token.logprob, bytes=list(token.raw))
