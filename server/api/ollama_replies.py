"""Ollama's replies: events of the core as NDJSON chunks or as one object."""

import time
from datetime import UTC, datetime
from typing import Any

from server.api import gojson
from server.api import ollama_types as wire
from server.api.core import Delta, Done, Event
from server.engine.types import FinishReason, Logprob, TokenLogprob
from server.errors import ModelNotFound, ServerError

_NDJSON = "application/x-ndjson"


def now() -> str:
    """The time as Go writes it: RFC 3339, UTC, nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def encode_error(error: ServerError) -> bytes:
    """`{"error": text}`. The next step goes into the text, except where Ollama's own is known
    to clients."""
    text = error.message
    if error.hint and not isinstance(error, ModelNotFound):
        text = f"{text} ({error.hint})"
    return gojson.encode({"error": text})


class Encoder:
    """What the replies of generate and chat share; `model` is echoed as it was asked for."""

    stream_type = _NDJSON

    def __init__(self, model: str) -> None:
        self._model = model

    def chunk(self, text: str, **fields: Any) -> bytes:
        """One object; `fields` are those that may be left out."""
        raise NotImplementedError

    def last(self, done: Done, text: str, logprobs: list[wire.Logprob]) -> bytes:
        """The object with the reason and the numbers."""
        return self.chunk(text, done=True, logprobs=logprobs, **_numbers(done))

    def status(self, reason: str) -> bytes:
        """The reply to a request that only loads or unloads."""
        return self.chunk("", done=True, done_reason=reason)

    def rendered(self, text: str) -> bytes:
        """The reply to a request that only renders."""
        return self.chunk("", done=False, debug_info=wire.DebugInfo(text))

    def frame(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self.chunk(event.text, done=False, logprobs=_logprobs(event)) + b"\n"
            case Done():
                return self.last(event, "", []) + b"\n"
            case _:
                return b""

    def whole(self, events: list[Event]) -> bytes:
        deltas = [event for event in events if isinstance(event, Delta)]
        (done,) = (event for event in events if isinstance(event, Done))
        text = "".join(delta.text for delta in deltas)
        return self.last(done, text, [one for delta in deltas for one in _logprobs(delta)])

    def failure(self, error: ServerError) -> bytes:
        return encode_error(error) + b"\n"

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)


class GenerateEncoder(Encoder):
    """Replies of /api/generate. `with_context`: the last one carries the tokens."""

    def __init__(self, model: str, *, with_context: bool) -> None:
        super().__init__(model)
        self._with_context = with_context

    def chunk(self, text: str, **fields: Any) -> bytes:
        return gojson.encode(
            wire.Generated(model=self._model, created_at=now(), response=text, **fields)
        )

    def last(self, done: Done, text: str, logprobs: list[wire.Logprob]) -> bytes:
        context = done.tokens if self._with_context else []
        return self.chunk(text, done=True, logprobs=logprobs, context=context, **_numbers(done))


class ChatEncoder(Encoder):
    """Replies of /api/chat."""

    def chunk(self, text: str, **fields: Any) -> bytes:
        message = wire.Reply(role="assistant", content=text)
        return gojson.encode(
            wire.Chatted(model=self._model, created_at=now(), message=message, **fields)
        )


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


def _logprobs(delta: Delta) -> list[wire.Logprob]:
    return [_logprob(one) for one in delta.logprobs]


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
