"""Replies of OpenAI's Responses API: events of the core as one response, or as the events
in which it grows."""

import secrets
import time
from collections.abc import Iterator, Sequence

import msgspec

from server.api import custom_tools, openai_logprobs
from server.api import responses_types as wire
from server.api.events import Called, Delta, Done, Event, Started, Thinking
from server.api.named_events import HEARTBEAT, STREAM_TYPE
from server.api.openai_errors import detail, encode_error
from server.api.openai_objects import ContentLogprob
from server.api.responses_tools import custom_names
from server.chat.tools import ToolCall
from server.engine.types import FinishReason, Logprob
from server.errors import ServerError


def new_id(prefix: str) -> str:
    """An id such as OpenAI's: a prefix that says of what, and 48 digits."""
    return f"{prefix}_{secrets.token_hex(24)}"


class _Output:
    """The items of a reply while it is said. What `add` and `close` return is what a stream
    tells of it. Texts and thoughts are items that stay open until something else is said."""

    def __init__(self, custom: frozenset[str]) -> None:
        """`custom` are the names of the tools that get a text."""
        self._custom = custom
        self.done: list[wire.OutputItem] = []
        self._open: _OpenItem | None = None
        # Of tokens whose text no message has said yet.
        self._logprobs: tuple[Logprob, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said so far."""
        return not self.done and self._open is None

    def add(self, event: Event) -> Iterator[wire.Event]:
        """Take an event over, if it says something."""
        match event:
            case Called():
                yield from self.close("completed")
                yield from self._call(event.call)
            case Delta():
                self._logprobs += event.logprobs
                if event.text or (self._logprobs and isinstance(self._open, _OpenMessage)):
                    yield from self._say(_OpenMessage, event.text, self._take_logprobs())
            case Thinking() if event.text:
                yield from self._say(_OpenReasoning, event.text)

    def begin_message(self) -> Iterator[wire.Event]:
        """Begin a message that says nothing so far."""
        yield from self._begin(_OpenMessage)

    def close(self, status: str) -> Iterator[wire.Event]:
        """End the item that is open, if there is one."""
        if self._open is None:
            return
        yield from self._open.end()
        yield from self._end(self._open.item(status))
        self._open = None

    def _say(
        self, kind: "type[_OpenItem]", text: str, logprobs: Sequence[Logprob] = ()
    ) -> Iterator[wire.Event]:
        if not isinstance(self._open, kind):
            yield from self._begin(kind)
            logprobs = openai_logprobs.from_text(text, logprobs)
        if self._open is not None:
            yield self._open.say(text, [*map(openai_logprobs.told, logprobs)])

    def _take_logprobs(self) -> Sequence[Logprob]:
        taken, self._logprobs = self._logprobs, ()
        return taken

    def _begin(self, kind: "type[_OpenItem]") -> Iterator[wire.Event]:
        yield from self.close("completed")
        self._open = kind(len(self.done))
        yield from self._open.begin()

    def _call(self, call: ToolCall) -> Iterator[wire.Event]:
        kind = self._call_custom if call.name in self._custom else self._call_function
        yield from kind(call, len(self.done))

    def _call_function(self, call: ToolCall, at: int) -> Iterator[wire.Event]:
        item_id = new_id("fc")
        arguments = msgspec.json.encode(call.arguments).decode()

        def item(status: str, arguments: str) -> wire.FunctionCall:
            return wire.FunctionCall(
                id=item_id, status=status, call_id=call.id, name=call.name, arguments=arguments
            )

        yield wire.ItemAdded(output_index=at, item=item("in_progress", ""))
        yield wire.ArgumentsDelta(item_id=item_id, output_index=at, delta=arguments)
        yield wire.ArgumentsDone(item_id=item_id, output_index=at, arguments=arguments)
        yield from self._end(item("completed", arguments))

    def _call_custom(self, call: ToolCall, at: int) -> Iterator[wire.Event]:
        item_id, text = new_id("ctc"), custom_tools.text_of(call.arguments)
        whole = wire.CustomCall(id=item_id, call_id=call.id, name=call.name, input=text)
        yield wire.ItemAdded(output_index=at, item=msgspec.structs.replace(whole, input=""))
        yield wire.CustomInputDelta(item_id=item_id, output_index=at, delta=text)
        yield wire.CustomInputDone(item_id=item_id, output_index=at, input=text)
        yield from self._end(whole)

    def _end(self, item: wire.OutputItem) -> Iterator[wire.Event]:
        yield wire.ItemDone(output_index=len(self.done), item=item)
        self.done.append(item)


class _OpenItem:
    """An item that grows; `at` is its place in the output."""

    prefix = ""

    def __init__(self, at: int) -> None:
        self._at = at
        self._id = new_id(self.prefix)
        self._said: list[str] = []

    @property
    def text(self) -> str:
        """What it says so far."""
        return "".join(self._said)

    def begin(self) -> Iterator[wire.Event]:
        """It is there, and empty."""
        raise NotImplementedError

    def say(self, text: str, logprobs: Sequence[ContentLogprob]) -> wire.Event:
        """It says more."""
        raise NotImplementedError

    def end(self) -> Iterator[wire.Event]:
        """It says no more."""
        raise NotImplementedError

    def item(self, status: str) -> wire.OutputItem:
        """As the reply shows it."""
        raise NotImplementedError


class _OpenMessage(_OpenItem):
    prefix = "msg"

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self._logprobs: list[ContentLogprob] = []

    def begin(self) -> Iterator[wire.Event]:
        empty = wire.OutputMessage(id=self._id, status="in_progress", content=[])
        yield wire.ItemAdded(output_index=self._at, item=empty)
        part = wire.OutputText(text="")
        yield wire.PartAdded(item_id=self._id, output_index=self._at, part=part)

    def say(self, text: str, logprobs: Sequence[ContentLogprob]) -> wire.Event:
        self._said.append(text)
        self._logprobs += logprobs
        told = [*map(wire.EventLogprob.of, logprobs)]
        return wire.TextDelta(item_id=self._id, output_index=self._at, delta=text, logprobs=told)

    def end(self) -> Iterator[wire.Event]:
        told = [*map(wire.EventLogprob.of, self._logprobs)]
        yield wire.TextDone(item_id=self._id, output_index=self._at, text=self.text, logprobs=told)
        yield wire.PartDone(item_id=self._id, output_index=self._at, part=self._part())

    def item(self, status: str) -> wire.OutputItem:
        return wire.OutputMessage(id=self._id, status=status, content=[self._part()])

    def _part(self) -> wire.OutputText:
        return wire.OutputText(text=self.text, logprobs=self._logprobs)


class _OpenReasoning(_OpenItem):
    prefix = "rs"

    def begin(self) -> Iterator[wire.Event]:
        empty = wire.ReasoningItem(id=self._id, status="in_progress", summary=[])
        yield wire.ItemAdded(output_index=self._at, item=empty)
        part = wire.SummaryText(text="")
        yield wire.SummaryPartAdded(item_id=self._id, output_index=self._at, part=part)

    def say(self, text: str, logprobs: Sequence[ContentLogprob]) -> wire.Event:
        self._said.append(text)
        return wire.SummaryDelta(item_id=self._id, output_index=self._at, delta=text)

    def end(self) -> Iterator[wire.Event]:
        yield wire.SummaryDone(item_id=self._id, output_index=self._at, text=self.text)
        part = wire.SummaryText(text=self.text)
        yield wire.SummaryPartDone(item_id=self._id, output_index=self._at, part=part)

    def item(self, status: str) -> wire.OutputItem:
        summary = [wire.SummaryText(text=self.text)]
        return wire.ReasoningItem(id=self._id, status=status, summary=summary)


class ResponseEncoder:
    """One reply. `begun` is the response as it is before anything is said."""

    stream_type = STREAM_TYPE

    def __init__(self, begun: wire.Response) -> None:
        self._response = begun
        self._output = _Output(custom_names(begun.tools))
        self._num_sent = 0

    def frame(self, event: Event) -> bytes:
        return self._frames(self._events(event))

    def whole(self, events: list[Event]) -> bytes:
        for event in events:
            for _ in self._events(event):
                pass
        return msgspec.json.encode(self._response)

    def heartbeat(self) -> bytes:
        """For a stream that is silent."""
        return HEARTBEAT

    def failure(self, error: ServerError) -> bytes:
        return self._frames(self._failed(error))

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)

    def _frames(self, events: Iterator[wire.Event]) -> bytes:
        frames = []
        for event in events:
            event.sequence_number = self._num_sent
            self._num_sent += 1
            frames.append(event.frame())
        return b"".join(frames)

    def _events(self, event: Event) -> Iterator[wire.Event]:
        match event:
            case Started():
                yield wire.Created(response=self._response)
                yield wire.InProgress(response=self._response)
            case Done():
                yield from self._finished(event)
            case _:
                yield from self._output.add(event)

    def _finished(self, done: Done) -> Iterator[wire.Event]:
        """A reply that says nothing at all is an empty message."""
        is_whole = done.reason is not FinishReason.LENGTH
        status = "completed" if is_whole else "incomplete"
        if self._output.is_empty:
            yield from self._output.begin_message()
        yield from self._output.close(status)
        response = self._end(status)
        response.usage = self._usage(done)
        response.truncated = done.truncated_tokens or msgspec.UNSET
        if is_whole:
            response.completed_at = int(time.time())
            yield wire.Completed(response=response)
        else:
            response.incomplete_details = wire.IncompleteDetails(reason="max_output_tokens")
            yield wire.Incomplete(response=response)

    def _failed(self, error: ServerError) -> Iterator[wire.Event]:
        if not self._num_sent:
            yield wire.Created(response=self._response)
        yield from self._output.close("incomplete")
        response = self._end("failed")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        response.error = wire.Failure(code=code, message=detail(error).message)
        yield wire.Failed(response=response)

    def _end(self, status: str) -> wire.Response:
        self._response.status = status
        self._response.output = self._output.done
        return self._response

    def _usage(self, done: Done) -> wire.Usage:
        return wire.Usage(
            input_tokens=done.prompt_tokens,
            input_tokens_details=wire.InputTokensDetails(cached_tokens=done.cached_tokens),
            output_tokens=done.output_tokens,
            output_tokens_details=wire.OutputTokensDetails(reasoning_tokens=done.thinking_tokens),
            total_tokens=done.prompt_tokens + done.output_tokens,
        )
