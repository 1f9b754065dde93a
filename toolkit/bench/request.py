"""One request: sent, its chunks noted as they come, and what there is of it kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from toolkit.bench.records import Outcome, Phase, RequestRecord
from toolkit.bench.wire import Piece, Terms, Wire
from toolkit.bench.workload import Message
from toolkit.client import Endpoint
from toolkit.errors import EndpointError, RequestRefused, ToolkitError
from toolkit.safetext import cleaned

# An endpoint that streams without an end must not fill the memory of who measures it.
MOST_CHUNKS_PER_TOKEN, SPARE_CHUNKS = 4, 1024
LONGEST_ERROR, LONGEST_REASON = 300, 40


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which request of its level this is. `began` is the level's zero on the steady clock."""

    index: int
    began: float
    turn: int = 0
    due_s: float | None = None


class Asker:
    """Sends the requests of one run. `refused` is the status of the last refusal."""

    def __init__(
        self, endpoint: Endpoint, wire: Wire, terms: Terms, *, must_fill: bool, keep_text: bool
    ) -> None:
        """`must_fill`: an answer with fewer tokens than asked for is short."""
        self.terms = terms
        self.refused: int | None = None
        self._endpoint = endpoint
        self._wire = wire
        self._must_fill = must_fill
        self._keep_text = keep_text

    async def ask(
        self,
        messages: Sequence[Message],
        tokens: int,
        place: Place,
        *,
        phase: Callable[[float], Phase],
        sink: Callable[[RequestRecord], None],
        on_text: Callable[[], None],
        keep_reply: bool = False,
    ) -> str:
        """The reply's text, if it is to be kept; `sink` gets the record, also of a request
        that is cancelled. `phase` says which part of its level a moment of sending is in."""
        note = _Note(self._must_fill, tokens, keep_reply or self._keep_text, on_text)
        body = self._wire.body(self._endpoint.model, messages, tokens, self.terms)
        try:
            await self._stream(body, note)
        except ToolkitError as failure:
            note.error = self._endpoint.redacted(failure.message)
            self.refused = failure.status if isinstance(failure, RequestRefused) else None
        finally:
            prompt = messages[-1].content if self._keep_text else ""
            sink(note.record(place, phase, prompt, self._keep_text))
        return "".join(note.texts)

    async def _stream(self, body: Mapping[str, Any], note: "_Note") -> None:
        read = self._wire.read
        note.sent = time.perf_counter()
        async with self._endpoint.answer(
            "POST", self._wire.path, body, trace=note.connecting
        ) as lines:
            note.first_byte = time.perf_counter()
            note.truncated = _count(lines.header("x-truncated-tokens"))
            async for line in lines:
                piece = read(line)
                if piece is not None and note.took(piece, time.perf_counter()):
                    break
            note.check_end()
            await lines.drain()


class _Note:
    """The moments of one request, on the steady clock."""

    def __init__(
        self, must_fill: bool, tokens: int, keep_text: bool, on_text: Callable[[], None]
    ) -> None:
        self.sent = time.perf_counter()
        self.first_byte: float | None = None
        self.error = ""
        self.truncated = 0
        self.texts: list[str] = []
        self._must_fill, self._tokens, self._keep_text = must_fill, tokens, keep_text
        self._most = MOST_CHUNKS_PER_TOKEN * tokens + SPARE_CHUNKS
        self._on_text = on_text
        self._chunks: list[float] = []
        self._first_chunk: float | None = None
        self._last_chunk: float | None = None
        self._answer: float | None = None
        self._end: float | None = None
        self._connect_began: float | None = None
        self._connect_s: float | None = None
        self._is_done = False
        self._told = Piece()

    async def connecting(self, event: str, info: Mapping[str, Any]) -> None:
        """What the HTTP client does for this request, as it says."""
        if event == "connection.connect_tcp.started":
            self._connect_began = time.perf_counter()
        elif self._connect_began is not None and event in (
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        ):
            self._connect_s = time.perf_counter() - self._connect_began

    def took(self, piece: Piece, now: float) -> bool:
        """Note a piece; whether it was the last. Raises `EndpointError` for an error in it."""
        if piece.error:
            raise EndpointError(piece.error)
        if piece.is_chunk:
            self._first_chunk = self._first_chunk or now
            self._last_chunk = now
        if piece.text or piece.thinking:
            self._chunks.append(now)
            self._on_text()
            if len(self._chunks) > self._most:
                raise EndpointError("The endpoint sent far more than was asked for.")
            if piece.text:
                self._answer = self._answer or now
                if self._keep_text:
                    self.texts.append(piece.text)
        self._remember(piece)
        self._end = now
        self._is_done = self._is_done or piece.is_done or bool(piece.finish_reason)
        return piece.is_done

    def check_end(self) -> None:
        """Raises `EndpointError` if the answer ended before it was complete."""
        if not self._is_done:
            raise EndpointError("The answer ended before it was complete.")

    def record(
        self, place: Place, phase: Callable[[float], Phase], prompt: str, keep_text: bool
    ) -> RequestRecord:
        """All of it, in seconds since the level began."""
        began, told = place.began, self._told
        outcome = self._outcome()
        counted = told.output_tokens is not None
        ended = self._end if outcome in (Outcome.OK, Outcome.SHORT) else time.perf_counter()

        def since(moment: float | None) -> float | None:
            return None if moment is None else moment - began

        return RequestRecord(
            index=place.index,
            turn=place.turn,
            outcome=outcome,
            phase=phase(self.sent - began),
            due_s=place.due_s,
            sent_s=self.sent - began,
            end_s=(ended or time.perf_counter()) - began,
            first_byte_s=since(self.first_byte),
            first_chunk_s=since(self._first_chunk),
            last_chunk_s=since(self._last_chunk),
            text_s=tuple(moment - began for moment in self._chunks),
            answer_s=since(self._answer),
            connect_s=self._connect_s,
            asked_tokens=self._tokens,
            prompt_tokens=told.prompt_tokens,
            cached_tokens=told.cached_tokens,
            output_tokens=told.output_tokens if counted else len(self._chunks),
            is_counted=counted or not self._is_done,
            truncated_tokens=self.truncated,
            load_s=told.load_s,
            server_prompt_s=told.prompt_s,
            server_output_s=told.output_s,
            finish_reason=cleaned(told.finish_reason)[:LONGEST_REASON],
            error=cleaned(self.error)[:LONGEST_ERROR],
            prompt=prompt,
            reply="".join(self.texts) if keep_text else "",
        )

    def _outcome(self) -> Outcome:
        if self.error:
            return Outcome.ERROR
        if not self._is_done:
            return Outcome.UNFINISHED
        if not self._must_fill:
            return Outcome.OK
        told = self._told.output_tokens
        if told is None:
            return Outcome.OK if self._told.finish_reason == "length" else Outcome.SHORT
        return Outcome.SHORT if told < self._tokens else Outcome.OK

    def _remember(self, piece: Piece) -> None:
        """Keep what is said for the whole answer, in whichever piece it comes."""
        old = self._told

        def either(new: Any, before: Any) -> Any:
            return before if new is None or new == "" else new

        if piece.finish_reason or piece.output_tokens is not None or piece.is_done:
            self._told = Piece(
                finish_reason=either(piece.finish_reason, old.finish_reason),
                prompt_tokens=either(piece.prompt_tokens, old.prompt_tokens),
                cached_tokens=either(piece.cached_tokens, old.cached_tokens),
                output_tokens=either(piece.output_tokens, old.output_tokens),
                load_s=either(piece.load_s, old.load_s),
                prompt_s=either(piece.prompt_s, old.prompt_s),
                output_s=either(piece.output_s, old.output_s),
            )


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
