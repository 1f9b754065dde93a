"""Anthropic's replies: events of the core as a message, or as the events of one."""

import secrets
import string
from collections.abc import Iterator, Sequence

import msgspec

from server import logs
from server.api import anthropic_types as wire
from server.api.events import Called, Counted, Delta, Done, Event, Started, Thinking
from server.api.named_events import STREAM_TYPE, NamedEvent
from server.chat.tools import ToolCall
from server.engine.types import FinishReason
from server.errors import ContextExceeded, ModelNotFound, ServerError

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_LETTERS = string.ascii_letters + string.digits
_SIGNATURE_BYTES = 48


def request_id() -> str:
    """The id of this request in Anthropic's form; the rest of it is the id in the log."""
    return f"req_{logs.request_id()}"


def reply_headers() -> dict[str, str]:
    """What the official clients read the request's id from."""
    return {"request-id": request_id()}


def error_event(error: ServerError) -> wire.Error:
    """An error in Anthropic's shape. Agents look for the words by which Anthropic says that a
    prompt is too long, and make it shorter."""
    text = error.message
    if isinstance(error, ContextExceeded):
        text = f"prompt is too long: {text}"
    if error.hint and not isinstance(error, ModelNotFound):
        text = f"{text} ({error.hint})"
    kind = _ERROR_TYPES.get(error.status, "api_error")
    return wire.Error(
        error=wire.ErrorObject(type=kind, message=text),
        request_id=request_id(),
    )


def encode_error(error: ServerError) -> bytes:
    """The body of an error."""
    return msgspec.json.encode(error_event(error))


class _Blocks:
    """The blocks of a reply while it is said. What `add` and `close` return is what a stream
    tells of it."""

    def __init__(self) -> None:
        self.done: list[wire.ContentBlock] = []
        self._kind: type[Delta | Thinking] | None = None
        self._said: list[str] = []

    def add(self, event: Event) -> Iterator[NamedEvent]:
        """Take an event over, if it says something."""
        if isinstance(event, Called):
            yield from self.close()
            yield from self._call(event.call)
        elif isinstance(event, Delta | Thinking) and event.text:
            if type(event) is not self._kind:
                yield from self.close()
                yield from self._open(type(event))
            self._said.append(event.text)
            yield self._delta(
                wire.TextDelta(event.text)
                if isinstance(event, Delta)
                else wire.ThinkingDelta(event.text)
            )

    def close(self) -> Iterator[NamedEvent]:
        """End the block that is open, if there is one."""
        if self._kind is None:
            return
        text = "".join(self._said)
        if self._kind is Thinking:
            signature = secrets.token_urlsafe(_SIGNATURE_BYTES)
            yield self._delta(wire.SignatureDelta(signature))
            yield from self._end(wire.ThinkingBlock(text, signature))
        else:
            yield from self._end(wire.TextBlock(text))

    def _open(self, kind: type[Delta | Thinking]) -> Iterator[NamedEvent]:
        self._kind, self._said = kind, []
        yield self._start(wire.TextBlock("") if kind is Delta else wire.ThinkingBlock("", ""))

    def _call(self, call: ToolCall) -> Iterator[NamedEvent]:
        block = wire.ToolUseBlock(_tool_use_id(), call.name, call.arguments)
        yield self._start(wire.ToolUseBlock(block.id, block.name, {}))
        yield self._delta(wire.InputJSONDelta(""))
        yield self._delta(wire.InputJSONDelta(msgspec.json.encode(call.arguments).decode()))
        yield from self._end(block)

    def _start(self, block: wire.ContentBlock) -> NamedEvent:
        return wire.ContentBlockStart(index=len(self.done), content_block=block)

    def _delta(self, delta: wire.BlockDelta) -> NamedEvent:
        return wire.ContentBlockDelta(index=len(self.done), delta=delta)

    def _end(self, block: wire.ContentBlock) -> Iterator[NamedEvent]:
        yield wire.ContentBlockStop(index=len(self.done))
        self.done.append(block)
        self._kind = None


class MessageEncoder:
    """One reply. `stop_sequences` are those of the request and `max_tokens` what it may have:
    they tell what of the ways to end was the client's."""

    stream_type = STREAM_TYPE

    def __init__(self, model: str, *, stop_sequences: Sequence[str], max_tokens: int) -> None:
        self._model = model
        self._stop_sequences = frozenset(stop_sequences)
        self._max_tokens = max_tokens
        self._id = f"msg_{secrets.token_hex(12)}"
        self._blocks = _Blocks()

    def frame(self, event: Event) -> bytes:
        return b"".join(one.frame() for one in self._events(event))

    def whole(self, events: list[Event]) -> bytes:
        for event in events:
            for _ in self._events(event):
                pass
        (done,) = (event for event in events if isinstance(event, Done))
        usage = wire.MessageUsage(**msgspec.structs.asdict(_usage(done)))
        return msgspec.json.encode(self._message(usage, self._stop(done)))

    def heartbeat(self) -> bytes:
        """For a stream that is silent."""
        return wire.Ping().frame()

    def failure(self, error: ServerError) -> bytes:
        return error_event(error).frame()

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)

    def _events(self, event: Event) -> Iterator[NamedEvent]:
        match event:
            case Started(prompt_tokens=int(count)) | Counted(prompt_tokens=count):
                usage = wire.MessageUsage(input_tokens=count, output_tokens=0)
                yield wire.MessageStart(message=self._message(usage))
                yield wire.Ping()
            case Done():
                yield from self._blocks.close()
                yield wire.MessageDelta(delta=self._stop(event), usage=_usage(event))
                yield wire.MessageStop()
            case _:
                yield from self._blocks.add(event)

    def _message(
        self, usage: wire.MessageUsage, stop: wire.Stop | None = None
    ) -> wire.AssistantMessage:
        return wire.AssistantMessage(
            id=self._id,
            model=self._model,
            content=self._blocks.done,
            stop_reason=stop.stop_reason if stop else None,
            stop_sequence=stop.stop_sequence if stop else None,
            usage=usage,
        )

    def _stop(self, done: Done) -> wire.Stop:
        """The window, too, can end a reply; a stop string of the model's own is its end."""
        if done.reason is FinishReason.LENGTH:
            is_full = done.output_tokens < self._max_tokens
            reason = "model_context_window_exceeded" if is_full else "max_tokens"
            return wire.Stop(stop_reason=reason, stop_sequence=None)
        if done.stop_string in self._stop_sequences:
            return wire.Stop(stop_reason="stop_sequence", stop_sequence=done.stop_string)
        calls = any(isinstance(block, wire.ToolUseBlock) for block in self._blocks.done)
        return wire.Stop(stop_reason="tool_use" if calls else "end_turn", stop_sequence=None)


def _usage(done: Done) -> wire.Usage:
    return wire.Usage(
        input_tokens=done.prompt_tokens - done.cached_tokens,
        cache_read_input_tokens=done.cached_tokens,
        output_tokens=done.output_tokens,
    )


def _tool_use_id() -> str:
    return "toolu_" + "".join(secrets.choice(_LETTERS) for _ in range(24))
