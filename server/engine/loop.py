"""The engine's step: schedule, decode, sample, publish. Sole owner of a backend."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from server.engine.backend import Backend, Decoded, RequestError, Row, Sampled, Sampler
from server.engine.detokenizer import Detokenizer, Text
from server.engine.messages import Abort, Failure, FailureKind, Step, Submit
from server.engine.scheduler import Admission, Chunk, QueueFull, Scheduler, shift_for
from server.engine.sequence import Sequence
from server.engine.types import EngineStats, Finish, FinishReason, Logprob, Piece, Request

_log = logging.getLogger("akash_llm.engine")

_BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(slots=True)
class _Writer:
    """What turns the tokens of one running request into text."""

    sampler: Sampler
    detokenizer: Detokenizer


class Loop:
    """Steps a scheduler over a backend and publishes one `Step` each time.

    `clock_ns` is monotonic. Nothing here blocks but `Backend.decode` and `publish`.
    """

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        publish: Callable[[Step], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._publish = publish
        self._clock_ns = clock_ns
        self._writers: dict[int, _Writer] = {}
        self._pieces: list[tuple[int, Piece]] = []
        self._finished: list[tuple[int, Finish]] = []
        self._failed: list[tuple[int, Failure]] = []
        self._has_news = False
        # Ids whose prompt is in the running decode: worth interrupting it for (read by
        # the thread that receives aborts).
        self.prompting: frozenset[int] = frozenset()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return self._scheduler.is_idle

    def submit(self, message: Submit) -> None:
        """Queue a request; one that cannot be done fails in the next report."""
        request = message.request
        limit = min(request.context or self._backend.info.context, self._backend.info.context)
        if len(request.tokens) > limit:
            text = f"the prompt has {len(request.tokens)} tokens, the context {limit}"
            self._report_failure(message.id, "context_exceeded", text)
            return
        try:
            self._check(request)
            self._scheduler.submit(
                Sequence(message.id, request, limit=limit, submitted_ns=self._clock_ns())
            )
        except RequestError as error:
            self._report_failure(message.id, "invalid_request", str(error))
        except QueueFull:
            self._report_failure(message.id, "overloaded", _BUSY)

    def abort(self, message: Abort) -> None:
        """Forget a request, waiting or running; its slot is free at once."""
        self._close(message.id)

    def step(self) -> None:
        """One step, and reports if there is news."""
        self._admit()
        # Said before a long prompt is computed: who looks at the load sees it run.
        self._flush()
        has_shifted = self._make_room()
        chunks = self._scheduler.schedule()
        if chunks:
            self._decode(chunks, may_interrupt=not has_shifted)
        self._flush()

    def _check(self, request: Request) -> None:
        if not request.tokens:
            raise RequestError("the prompt is empty")
        self._backend.check_tokens(request.tokens)

    def _admit(self) -> None:
        while (admission := self._scheduler.admit()) is not None:
            sequence = admission.sequence
            sequence.admitted_ns = self._clock_ns()
            self._has_news = True
            self._place(admission)
            try:
                sampler = self._backend.sampler(sequence.request)
            except RequestError as error:
                self._fail(sequence, "invalid_request", str(error))
                continue
            detokenizer = Detokenizer(sequence.request.stop)
            self._writers[sequence.id] = _Writer(sampler, detokenizer)

    def _place(self, admission: Admission) -> None:
        sequence, placement = admission.sequence, admission.placement
        if placement.keep and placement.source != placement.slot:
            self._backend.fork(placement.source, placement.slot)
        if not self._backend.trim(placement.slot, placement.keep):
            sequence.num_computed = sequence.num_cached = 0

    def _make_room(self) -> bool:
        """Shift or end the sequences whose window is full; whether one was shifted."""
        has_shifted = False
        for sequence in self._scheduler.running:
            if not sequence.is_over_limit:
                continue
            if not (sequence.request.shift and self._backend.info.can_shift):
                self._finish(sequence, FinishReason.LENGTH)
                continue
            keep, discard = shift_for(sequence)
            self._backend.shift(sequence.slot, keep, discard)
            sequence.shift(keep, discard)
            has_shifted = True
        return has_shifted

    def _decode(self, chunks: list[Chunk], *, may_interrupt: bool) -> None:
        rows = [
            Row(c.sequence.slot, at, c.sequence.tokens[at], c.is_last and at == c.stop - 1)
            for c in chunks
            for at in range(c.start, c.stop)
        ]
        # llama.cpp rotates shifted keys at the start of the next decode, and an interrupt there
        # would leave them as they were.
        prompts = (c.sequence.id for c in chunks if not c.sequence.is_decoding)
        self.prompting = frozenset(prompts if may_interrupt else ())
        result = self._backend.decode(rows)
        self.prompting = frozenset()
        if result is Decoded.OK:
            self._scheduler.commit(chunks)
            self._sample(chunks)
        else:
            self._recover(chunks, result)

    def _recover(self, chunks: list[Chunk], result: Decoded) -> None:
        """Bring the slots of a batch that was not computed back to what they held."""
        for chunk in chunks:
            sequence = chunk.sequence
            if not self._backend.trim(sequence.slot, sequence.num_computed):
                sequence.num_computed = 0
        if result is Decoded.INTERRUPTED:
            return
        _log.error("decode of %d chunks ended with %s", len(chunks), result.value)
        for chunk in chunks:
            self._fail(chunk.sequence, "engine_crashed", "the model could not compute this batch")

    def _sample(self, chunks: list[Chunk]) -> None:
        row = -1
        now_ns = self._clock_ns()
        for chunk in chunks:
            row += chunk.stop - chunk.start
            if not chunk.is_last:
                continue
            sequence = chunk.sequence
            sequence.first_ns = sequence.first_ns or now_ns
            if sequence.max_tokens == 0:
                self._finish(sequence, FinishReason.LENGTH)
                continue
            try:
                sampled = self._writers[sequence.id].sampler.sample(row)
            except RequestError as error:
                self._fail(sequence, "invalid_request", str(error))
                continue
            self._accept(sequence, sampled)

    def _accept(self, sequence: Sequence, sampled: Sampled) -> None:
        sequence.append(sampled.token)
        if sampled.is_end:
            self._finish(sequence, FinishReason.EOS)
            return
        text = self._writers[sequence.id].detokenizer.feed(sampled.raw)
        logprobs = (sampled.logprob,) if sampled.logprob else ()
        self._report_piece(sequence, text.text, (sampled.token,), logprobs)
        if text.stop is not None:
            self._finish(sequence, FinishReason.STOP_STRING, text)
        elif sequence.num_output >= sequence.max_tokens:
            self._finish(sequence, FinishReason.LENGTH)

    def _finish(
        self, sequence: Sequence, reason: FinishReason, stopped: Text | None = None
    ) -> None:
        if stopped is None:
            rest = self._writers[sequence.id].detokenizer.flush()
            if rest.text:
                self._report_piece(sequence, rest.text, ())
            if rest.stop is not None:
                reason, stopped = FinishReason.STOP_STRING, rest
        stop_string = stopped.stop if stopped else None
        finish = sequence.finish(reason, self._clock_ns(), stop_string)
        self._finished.append((sequence.id, finish))
        self._close(sequence.id)

    def _fail(self, sequence: Sequence, kind: FailureKind, message: str) -> None:
        self._report_failure(sequence.id, kind, message)
        self._close(sequence.id)

    def _close(self, sequence_id: int) -> None:
        self._has_news |= self._scheduler.remove(sequence_id) is not None
        writer = self._writers.pop(sequence_id, None)
        if writer is not None:
            writer.sampler.close()

    def _report_piece(
        self,
        sequence: Sequence,
        text: str,
        tokens: tuple[int, ...],
        logprobs: tuple[Logprob, ...] = (),
    ) -> None:
        self._pieces.append((sequence.id, Piece(text, tokens, logprobs)))

    def _report_failure(self, sequence_id: int, kind: FailureKind, message: str) -> None:
        self._failed.append((sequence_id, Failure(kind, message)))

    def _stats(self) -> EngineStats:
        return EngineStats(
            num_running=self._scheduler.num_running, num_waiting=self._scheduler.num_waiting
        )

    def _flush(self) -> None:
        if not (self._has_news or self._pieces or self._failed):
            return
        step = Step(
            self._pieces,
            self._finished,
            self._failed,
            self._stats(),
        )
        self._pieces, self._finished, self._failed = [], [], []
        self._has_news = False
        self._publish(step)
