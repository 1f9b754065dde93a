"""Reads the stream of one reply of Ollama: chunks in, events and the finish out. Pure."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from server.api.events import Called, Delta, Said, Thinking
from server.chat.tools import Offered, Tool
from server.chat.values import NotReadable
from server.engine.types import Finish, FinishReason, TokenLogprob
from server.engine.types import Logprob as Known
from server.errors import UpstreamFailed
from server.upstream.ollama_wire import Call, CalledFunction, Chunk, Logprob
from server.upstream.ollama_wire import TokenLogprob as Told

_MOST_ERROR_CHARACTERS: Final = 500


class ReplyStream:
    """One reply. Feed it every chunk, then ask for the finish.

    Calls get ids of ours. A call of a function that was not offered is told as text, so that
    nobody runs it by mistake and nothing is lost.
    """

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        *,
        most_calls: int | None = None,
        is_call: bool = False,
        is_mute: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """At most `most_calls` calls are told. The text of one that `is_call` is the JSON of a
        call. One that `is_mute` was asked for no token: the one that came is not told."""
        self._offered = Offered(tools)
        self._most_calls = most_calls
        self._is_call = is_call
        self._is_mute = is_mute
        self._clock_ns = clock_ns
        self._begun_ns = clock_ns()
        self._first_ns = 0
        self._num_chunks = 0
        self._num_calls = 0
        self._json = ""
        self._last: Chunk | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more."""
        return self._last is not None

    def feed(self, chunk: Chunk) -> list[Said]:
        """What this chunk says. Raises `UpstreamFailed` if it says that it failed."""
        if chunk.error is not None:
            raise failure(chunk.error)
        self._first_ns = self._first_ns or self._clock_ns()
        if chunk.done:
            self._last = chunk
        events = [] if self._is_mute else list(self._said(chunk))
        self._num_chunks += bool(events)
        told = tuple(map(_logprob, chunk.logprobs or ()))
        if not told or self._is_mute:
            return events
        first, *rest = events or [Delta("")]
        return [msgspec.structs.replace(first, logprobs=told), *rest]

    def finish(self) -> Finish:
        """The end, once all is read. What Ollama leaves out was 0, or is measured here: tokens
        as chunks, time by the clock. It does not tell a stop string from the model's own end,
        nor what was cached or cut. Raises `UpstreamFailed` if there was none."""
        last = self._last
        if last is None:
            raise UpstreamFailed("Ollama ended its reply before it was done")
        now_ns = self._clock_ns()
        until_first_ns = self._first_ns - self._begun_ns - last.load_duration
        is_cut = last.done_reason == "length" or self._is_mute
        return Finish(
            reason=FinishReason.LENGTH if is_cut else FinishReason.EOS,
            prompt_tokens=last.prompt_eval_count,
            cached_tokens=0,
            output_tokens=0 if self._is_mute else last.eval_count or self._num_chunks,
            queue_ns=last.load_duration,
            prompt_ns=last.prompt_eval_duration or max(0, until_first_ns),
            output_ns=last.eval_duration or now_ns - self._first_ns,
            tokens=tuple(last.context or ()),
        )

    def _said(self, chunk: Chunk) -> Iterator[Said]:
        message = chunk.message
        if thought := chunk.thinking or message.thinking:
            yield Thinking(thought)
        text = chunk.response or message.content
        if self._is_call:
            self._json += text
            text = ""
        if text:
            yield Delta(text)
        for call in chunk.tool_calls or message.tool_calls or ():
            if event := self._called(call):
                yield event
        if chunk.done and self._json:
            yield self._read_call()

    def _read_call(self) -> Said:
        """What was held to the form of a call; text if it was cut before its end."""
        try:
            call = msgspec.json.decode(self._json, type=CalledFunction)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            return Delta(self._json)
        return self._called(Call(function=call)) or Delta("")

    def _called(self, call: Call) -> Said | None:
        function = call.function
        try:
            made = self._offered.call(function.name, function.arguments)
        except NotReadable:
            return Delta(msgspec.json.encode(function).decode())
        if self._num_calls == self._most_calls:
            return None
        self._num_calls += 1
        return Called(self._num_calls - 1, made)


def failure(said: object) -> UpstreamFailed:
    """What the `error` of a line means."""
    text = " ".join(said.split()) if isinstance(said, str) else "it does not say why"
    return UpstreamFailed(f"Ollama failed: {text[:_MOST_ERROR_CHARACTERS]}")


def _logprob(one: Logprob) -> Known:
    return Known(_token(one), tuple(map(_token, one.top_logprobs or ())))


def _token(told: Told) -> TokenLogprob:
    """Old versions leave the bytes to the text."""
    raw = told.token.encode() if told.bytes is None else bytes(told.bytes)
    return TokenLogprob(told.token, raw, told.logprob)
