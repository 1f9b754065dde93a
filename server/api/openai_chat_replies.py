"""The replies of /v1/chat/completions: events of the core as one object or as a stream."""

from typing import Any

import msgspec

from server.api import custom_tools, gojson, openai_logprobs
from server.api import openai_objects as wire
from server.api.described import SSE_TYPE
from server.api.events import Called, Delta, Done, Event, OfChoice, Thinking
from server.api.openai_errors import encode_error
from server.api.openai_replies import (
    LAST,
    PING,
    Head,
    Tally,
    finish_reason,
    left_out,
    sse,
    sse_error,
)
from server.chat.tools import ToolCall
from server.engine.types import Logprob
from server.errors import ServerError


class _Said:
    """What one of the choices says, gathered. `done` is there once it has ended."""

    done: Done

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[wire.ContentLogprob] = []

    def add(self, event: Event) -> None:
        match event:
            case Delta():
                self.text.append(event.text)
            case Thinking():
                self.thinking.append(event.text)
            case Called():
                self.calls.append(event.call)
            case Done():
                self.done = event
                return
            case _:
                return
        self.logprobs += map(openai_logprobs.told, event.logprobs)


class ChatEncoder:
    """Writes one reply. `is_legacy`: a call is said as `function_call`. `custom` are the names
    of the tools that get a text."""

    stream_type = SSE_TYPE

    def __init__(
        self,
        head: Head,
        *,
        num_choices: int,
        with_usage: bool,
        is_legacy: bool = False,
        custom: frozenset[str] = frozenset(),
    ) -> None:
        self._head = head
        self._num_choices = num_choices
        self._with_usage = with_usage
        self._custom = custom
        self._called: wire.FinishReason = "function_call" if is_legacy else "tool_calls"
        self._tally = Tally(num_choices)
        self._begun: set[int] = set()
        self._calling: set[int] = set()
        self._num_done = 0

    def whole(self, events: list[Event]) -> bytes:
        said = [_Said() for _ in range(self._num_choices)]
        for event in events:
            if isinstance(event, OfChoice):
                said[event.index].add(event.event)
        choices = [self._choice(at, one) for at, one in enumerate(said)]
        return gojson.encode(
            wire.ChatCompletion(
                **self._head.fields(),
                choices=choices,
                usage=self._tally.usage(),
                **self._tally.left_out(),
            )
        )

    def frame(self, event: Event) -> bytes:
        if not isinstance(event, OfChoice):
            return b""
        return self._open() + self._frame(event.index, event.event)

    def heartbeat(self) -> bytes:
        return PING

    def failure(self, error: ServerError) -> bytes:
        return sse_error(error)

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)

    def _open(self) -> bytes:
        """Several choices begin in their order, whoever speaks first: the official client
        puts them together by place."""
        if self._begun or self._num_choices == 1:
            return b""
        return b"".join(
            self._chunk(at, self._delta(at, content="")) for at in range(self._num_choices)
        )

    def _frame(self, index: int, event: Event) -> bytes:
        match event:
            case Delta():
                return self._chunk(index, self._delta(index, content=event.text), event.logprobs)
            case Thinking():
                delta = self._delta(index, content="", reasoning=event.text)
                return self._chunk(index, delta, event.logprobs)
            case Called():
                self._calling.add(index)
                return self._chunk(index, self._delta(index, **self._said(event)), event.logprobs)
            case Done():
                return self._last(index, event)
            case _:
                return b""

    def _choice(self, index: int, said: _Said) -> wire.ChatChoice:
        self._tally.add(index, said.done)
        return wire.ChatChoice(
            index=index,
            message=self._message(said),
            logprobs=_logprobs(said.logprobs),
            finish_reason=finish_reason(said.done, called=self._called if said.calls else None),
        )

    def _message(self, said: _Said) -> wire.ReplyMessage:
        text, calls = "".join(said.text), said.calls
        message = wire.ReplyMessage(content=None if calls and not text else text)
        if said.thinking:
            message.reasoning = "".join(said.thinking)
        if calls and self._called == "function_call":
            message.function_call = _function(calls[0])
        elif calls:
            message.tool_calls = [self._call(call) for call in calls]
        return message

    def _said(self, event: Called) -> dict[str, Any]:
        """A call as fields of a delta."""
        if self._called == "function_call":
            return {"function_call": _function(event.call)}
        call = self._call(event.call)
        call.index = event.index
        return {"tool_calls": [call]}

    def _call(self, call: ToolCall) -> wire.AnyToolCall:
        if call.name in self._custom:
            text = custom_tools.text_of(call.arguments)
            return wire.CustomToolCall(
                id=call.id, custom=wire.CalledCustom(name=call.name, input=text)
            )
        return wire.FunctionToolCall(id=call.id, function=_function(call))

    def _delta(self, index: int, **fields: Any) -> wire.Delta:
        """What is new; the first of a choice says the role, too."""
        delta = wire.Delta(**fields)
        if index not in self._begun:
            self._begun.add(index)
            delta.role = "assistant"
        return delta

    def _chunk(
        self, index: int, delta: wire.Delta, logprobs: tuple[Logprob, ...] = (), **fields: Any
    ) -> bytes:
        choice = wire.ChunkChoice(
            index=index, delta=delta, logprobs=_logprobs([*map(openai_logprobs.told, logprobs)])
        )
        return self._event([choice], **fields)

    def _last(self, index: int, done: Done) -> bytes:
        """The end of a choice, and behind that of the last one the end of the stream."""
        self._tally.add(index, done)
        self._num_done += 1
        frames = b""
        if index not in self._begun:
            frames += self._chunk(index, self._delta(index, content=""))
        reason = finish_reason(done, called=self._called if index in self._calling else None)
        choice = wire.ChunkChoice(index=index, delta=wire.Delta(), finish_reason=reason)
        frames += self._event([choice], **left_out(done))
        if self._num_done < self._num_choices:
            return frames
        if self._with_usage:
            frames += self._event([], usage=self._tally.usage())
        return frames + LAST

    def _event(self, choices: list[wire.ChunkChoice], **fields: Any) -> bytes:
        if self._with_usage:
            fields.setdefault("usage", None)
        return sse(wire.ChatChunk(**self._head.fields(), choices=choices, **fields))


def _function(call: ToolCall) -> wire.CalledFunction:
    arguments = msgspec.json.encode(call.arguments).decode()
    return wire.CalledFunction(name=call.name, arguments=arguments)


def _logprobs(found: list[wire.ContentLogprob]) -> wire.ChatLogprobs | None:
    return wire.ChatLogprobs(content=found) if found else None
