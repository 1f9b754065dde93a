"""The engine's step: schedule, decode, sample, publish. Sole owner of a backend."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from server.engine.backend import (
    NO_VISION,
    Backend,
    Decoded,
    RequestError,
    Row,
    Sampled,
    Sampler,
)
from server.engine.cells import Cells
from server.engine.config import EngineConfig, Speculate
from server.engine.detokenizer import Detokenizer, Text
from server.engine.image_tokens import image_spans
from server.engine.interrupts import Interrupts
from server.engine.messages import Abort, FailureKind, Step, Submit
from server.engine.mover import Mover
from server.engine.outbox import Outbox
from server.engine.pace import Pace
from server.engine.parking import Parking
from server.engine.scheduler import Chunk, Scheduler, shift_for
from server.engine.sequence import Sequence
from server.engine.slots import Slots
from server.engine.speculation import Speculation
from server.engine.types import EngineCounts, EngineStats, FinishReason, Request, Segment
from server.engine.waiting import QueueFull

_log = logging.getLogger("akash_llm.engine")

_BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(slots=True)
class _Writer:
    """What turns the tokens of one request into text, from its first slot to its end.
    `markers` are control tokens that it shows."""

    sampler: Sampler
    detokenizer: Detokenizer
    markers: dict[int, bytes]


class Loop:
    """Steps a scheduler over a backend and publishes one `Step` each time.

    `clock_ns` is monotonic. Nothing here blocks but `Backend.decode`, `Backend.encode` (for one
    image a step, so that streams go on between two of them) and `publish`.
    """

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        publish: Callable[[Step], None],
        clock_ns: Callable[[], int],
        interrupts: Interrupts,
        *,
        batch: int,
        speculate: Speculate = "off",
    ) -> None:
        self._backend = backend
        self._interrupts = interrupts
        self._scheduler = scheduler
        self._slots = scheduler.slots
        self._counts = EngineCounts()
        self._mover = Mover(backend, scheduler.slots, self._counts)
        self._outbox = Outbox(publish)
        self._clock_ns = clock_ns
        self._was_interrupted = False
        self._pace = Pace(batch)
        self._speculation = Speculation(speculate if backend.can_rewind else "off", self._pace)
        self._writers: dict[int, _Writer] = {}
        self._markers: dict[str, int] = {}
        self._num_cells = backend.num_cells or len(self._slots) * backend.info.context

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return self._scheduler.is_idle

    def submit(self, message: Submit, arrived_ns: int | None = None) -> None:
        """Queue a request that arrived then, or now; one that cannot be done fails in the next
        report."""
        request = message.request
        limit = min(request.context or self._backend.info.context, self._backend.info.context)
        if len(request.tokens) > limit:
            text = f"the prompt has {len(request.tokens)} tokens, the context {limit}"
            self._outbox.failure(message.id, "context_exceeded", text)
            return
        try:
            self._check(request)
            arrived_ns = self._clock_ns() if arrived_ns is None else arrived_ns
            displaced = self._scheduler.submit(
                Sequence(message.id, request, limit=limit, submitted_ns=arrived_ns)
            )
        except RequestError as error:
            self._outbox.failure(message.id, "invalid_request", str(error))
        except QueueFull:
            self._outbox.failure(message.id, "overloaded", _BUSY)
        else:
            if displaced is not None:
                self._outbox.failure(displaced.id, "overloaded", _BUSY)

    def abort(self, message: Abort) -> None:
        """Forget a request, waiting or running; its slot is free at once."""
        self._close(message.id)

    def step(self) -> None:
        """One step, and reports if there is news."""
        self._admit()
        self._mover.close_gaps()
        # Said before a long prompt is computed: who looks at the load sees it run.
        self._flush()
        has_shifted = self._make_room()
        chunks = self._look(self._plan())
        if chunks:
            self._decode(chunks, has_shifted=has_shifted)
        self._flush()

    def computed(self) -> dict[int, list[int]]:
        """The tokens whose cells each slot should hold, for tests to compare."""
        return self._slots.computed()

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        self._scheduler.check_integrity()
        if not {s.id for s in self._scheduler.running} <= set(self._writers):
            raise AssertionError("a sequence runs without a sampler")
        if self._scheduler.is_idle and self._writers:
            raise AssertionError(f"samplers of {set(self._writers)} have leaked")

    def _check(self, request: Request) -> None:
        if not request.tokens:
            raise RequestError("the prompt is empty")
        self._backend.check_request(request)
        if min(request.tokens) < 0:
            self._check_images(request)

    def _check_images(self, request: Request) -> None:
        if not self._backend.info.has_vision:
            raise RequestError(NO_VISION)
        if not request.images:
            raise RequestError("the images of the prompt did not come with it")
        try:
            spans = image_spans(request.tokens)
        except ValueError as error:
            raise RequestError(str(error)) from None
        if spans[-1].stop == len(request.tokens):
            raise RequestError("the prompt ends with an image; write something behind it")

    # admission

    def _admit(self) -> None:
        while (admission := self._scheduler.next()) is not None:
            if admission.placement.parked and self._mover.has_copied:
                return  # after the next step
            sequence = admission.sequence
            is_new = sequence.id not in self._writers
            if is_new and not self._open(sequence):
                continue
            kept = self._mover.place(admission.placement)
            self._scheduler.start(admission, kept)
            self._outbox.has_news = True
            if is_new:
                self._begin(sequence, kept)

    def _open(self, sequence: Sequence) -> bool:
        """Make what a request needs, before anything is moved for it; False if it cannot be."""
        try:
            sampler = self._backend.sampler(sequence.request)
        except RequestError as error:
            self._fail(sequence, "invalid_request", str(error))
            return False
        request = sequence.request
        markers = dict(self._marker(text) for text in request.markers)
        self._writers[sequence.id] = _Writer(sampler, Detokenizer(request.stop), markers)
        return True

    def _marker(self, text: str) -> tuple[int, bytes]:
        """The control token of that text, and the text; (-1, …) if there is none."""
        if text not in self._markers:
            tokens = self._backend.tokenize([Segment(text)], add_bos=False)
            self._markers[text] = tokens[0] if len(tokens) == 1 else -1
        return self._markers[text], text.encode()

    def _begin(self, sequence: Sequence, kept: int) -> None:
        """A request runs for the first time."""
        sequence.admitted_ns = self._clock_ns()
        sequence.num_cached = kept
        self._counts.cached_tokens += kept
        self._counts.prompt_tokens += sequence.num_prompt

    # space

    def _plan(self) -> list[Chunk]:
        """The chunks of the next step, when there is space for all of them."""
        while True:
            num_decoding = self._scheduler.num_decoding
            num_reading = self._scheduler.num_running - num_decoding
            rows = self._pace.prompt_rows(
                num_decoding,
                num_reading,
                begin_together=num_reading > 0 and self._scheduler.begin_together,
            )
            chunks = self._scheduler.schedule(rows)
            missing = self._scheduler.num_missing_cells(chunks)
            if not missing or not self._reclaim(missing):
                break
        if self._speculation.is_on and len(chunks) == num_decoding:
            return self._with_drafts(chunks)
        return chunks

    def _with_drafts(self, chunks: list[Chunk]) -> list[Chunk]:
        room = self._scheduler.num_free_rows(chunks)
        drafts = self._speculation.drafts([c.sequence for c in chunks], room)
        return [replace(c, draft=drafts.get(c.sequence.id, [])) for c in chunks]

    def _reclaim(self, num_cells: int) -> bool:
        """Free some cells: of cached prefixes first, then of who runs shortest. False if
        there is nothing to free."""
        if self._mover.evict(num_cells):
            return True
        slot = self._scheduler.preempt()
        if slot is None:
            return False
        self._mover.vacate(slot)
        self._counts.num_preempted += 1
        self._outbox.has_news = True
        return True

    def _make_room(self) -> bool:
        """Shift or end the sequences whose window is full; whether one was shifted in place."""
        has_shifted = False
        for sequence in self._scheduler.running:
            if not sequence.is_over_limit:
                continue
            if not (sequence.request.shift and self._backend.info.can_shift):
                self._finish(sequence, FinishReason.LENGTH)
                continue
            keep, discard = shift_for(sequence)
            self._counts.shifted_tokens += discard
            has_shifted |= self._shift(sequence, keep, discard)
        return has_shifted

    def _shift(self, sequence: Sequence, keep: int, discard: int) -> bool:
        cells = self._slots.cells
        if cells is not None and cells.is_shared(sequence.slot, keep + discard):
            # Moving shared cells would move them for the others, too: computed again instead.
            self._rewind(sequence, min(keep, sequence.num_computed))
            sequence.drop(keep, discard)
            return False
        self._backend.shift(sequence.slot, keep, discard)
        self._scheduler.shift(sequence, keep, discard)
        return True

    def _rewind(self, sequence: Sequence, length: int) -> None:
        """Take back what is computed beyond `length`, or all if the memory cannot do that."""
        kept = self._backend.trim(sequence.slot, length)
        self._scheduler.rewind(sequence, length if kept else 0)

    # images

    def _look(self, chunks: list[Chunk]) -> list[Chunk]:
        """Encode the image of this step if that was not done, then it is read in the next one;
        the chunks that can be computed now."""
        if not chunks or not chunks[-1].is_image:
            return chunks
        image = chunks[-1]
        sequence = image.sequence
        tokens = sequence.tokens[image.start : image.stop]
        if self._backend.has_encoded(tokens):
            return chunks
        try:
            self._backend.encode(tokens, sequence.request.images)
        except RequestError as error:
            self._fail(sequence, "invalid_request", str(error))
        return chunks[:-1]

    # decoding

    def _decode(self, chunks: list[Chunk], *, has_shifted: bool) -> None:
        rows = [row for chunk in chunks for row in _rows(chunk)]
        num_decoding = sum(c.num_rows for c in chunks if c.sequence.is_decoding)
        prompts = [c.sequence.id for c in chunks if not c.sequence.is_decoding]
        begun_ns = self._clock_ns()
        if prompts and not has_shifted and self._may_interrupt(chunks):
            with self._interrupts.may_end(prompts):
                result = self._backend.decode(rows)
        else:
            result = self._backend.decode(rows)
        self._was_interrupted = result is Decoded.INTERRUPTED
        self._mover.has_copied = self._mover.has_copied and result is Decoded.REFUSED
        if result is not Decoded.OK:
            self._recover(chunks, result)
            return
        now_ns = self._clock_ns()
        self._pace.observe(num_decoding, len(rows) - num_decoding, now_ns - begun_ns)
        self._counts.num_steps += 1
        self._sample(chunks, now_ns)

    def _may_interrupt(self, chunks: list[Chunk]) -> bool:
        """Whether an aborted prompt may end the step, so that its slot is free at once.

        Not twice in a row where that costs others their work: who types and cancels all the
        time must not stop them. Not where the memory would not survive it. (Nor in a step for
        which keys were shifted: llama.cpp rotates them at its start, and an interrupt there
        would leave them wrong.)
        """
        return self._backend.survives_failure and (not self._was_interrupted or len(chunks) == 1)

    def _recover(self, chunks: list[Chunk], result: Decoded) -> None:
        """Bring the slots of a batch that was not computed back to what they held."""
        if result is not Decoded.REFUSED and self._backend.survives_failure:
            for chunk in chunks:
                self._rewind(chunk.sequence, chunk.sequence.num_computed)
        else:
            self._start_over()
        if result is Decoded.INTERRUPTED:
            return
        if result is Decoded.NO_SPACE and self._reclaim(len(chunks)):
            return
        _log.error("decode of %d chunks ended with %s", len(chunks), result.value)
        for chunk in chunks:
            self._fail(chunk.sequence, "engine_crashed", "the model could not compute this batch")

    def _start_over(self) -> None:
        """What the memory holds is not certain any more: compute everything again."""
        self._mover.forget_idle()
        for sequence in self._scheduler.running:
            self._rewind(sequence, 0)

    def _sample(self, chunks: list[Chunk], now_ns: int) -> None:
        row = -1
        for chunk in chunks:
            sequence, is_last = chunk.sequence, chunk.is_last
            row += chunk.stop - chunk.start
            self._scheduler.commit(sequence, chunk.stop - chunk.start)
            if is_last:
                sequence.first_ns = sequence.first_ns or now_ns
                self._sample_from(chunk, row)
            row += len(chunk.draft)

    def _sample_from(self, chunk: Chunk, row: int) -> None:
        """Choose the next token, and the ones after it for as long as they were guessed."""
        num_right = 0
        for guess in (*chunk.draft, None):
            token = self._choose(chunk.sequence, row + num_right)
            if token is None or token != guess:
                break
            self._scheduler.commit(chunk.sequence, 1)
            num_right += 1
        if chunk.draft:
            self._settle(chunk, num_right)

    def _settle(self, chunk: Chunk, num_right: int) -> None:
        """Take back the guesses that were wrong."""
        sequence = chunk.sequence
        self._counts.drafted_tokens += len(chunk.draft)
        self._counts.accepted_tokens += num_right
        if sequence.id in self._writers:
            self._speculation.observe(sequence, len(chunk.draft), num_right)
            self._rewind(sequence, sequence.num_computed)

    def _choose(self, sequence: Sequence, row: int) -> int | None:
        """The next token from a row of logits, published; None if the sequence has ended."""
        if sequence.max_tokens == 0:
            self._finish(sequence, FinishReason.LENGTH)
            return None
        try:
            sampled = self._writers[sequence.id].sampler.sample(row)
        except RequestError as error:
            self._fail(sequence, "invalid_request", str(error))
            return None
        return sampled.token if self._accept(sequence, sampled) else None

    def _accept(self, sequence: Sequence, sampled: Sampled) -> bool:
        """Take a token over and publish its text; whether the sequence goes on."""
        sequence.append(sampled.token)
        self._counts.output_tokens += 1
        if sampled.is_end:
            self._finish(sequence, FinishReason.EOS)
            return False
        writer = self._writers[sequence.id]
        text = writer.detokenizer.feed(writer.markers.get(sampled.token, sampled.raw))
        logprobs = (sampled.logprob,) if sampled.logprob else ()
        self._outbox.piece(sequence.id, text.text, (sampled.token,), logprobs)
        if text.stop is not None:
            self._finish(sequence, FinishReason.STOP_STRING, text)
        elif sequence.num_output >= sequence.max_tokens:
            self._finish(sequence, FinishReason.LENGTH)
        else:
            return True
        return False

    # ends

    def _finish(
        self, sequence: Sequence, reason: FinishReason, stopped: Text | None = None
    ) -> None:
        if stopped is None:
            rest = self._writers[sequence.id].detokenizer.flush()
            if rest.text:
                self._outbox.piece(sequence.id, rest.text, ())
            if rest.stop is not None:
                reason, stopped = FinishReason.STOP_STRING, rest
        stop_string = stopped.stop if stopped else None
        self._outbox.finish(sequence.id, sequence.finish(reason, self._clock_ns(), stop_string))
        self._close(sequence.id)

    def _fail(self, sequence: Sequence, kind: FailureKind, message: str) -> None:
        self._outbox.failure(sequence.id, kind, message)
        self._close(sequence.id)

    def _close(self, sequence_id: int) -> None:
        writer = self._writers.pop(sequence_id, None)
        if writer is not None:
            writer.sampler.close()
        self._speculation.forget(sequence_id)
        sequence = self._scheduler.remove(sequence_id)
        if sequence is None:
            return
        self._outbox.has_news = True
        if sequence.slot >= 0:
            self._mover.vacate(sequence.slot)

    def _flush(self) -> None:
        self._outbox.flush(self._stats)

    def _stats(self) -> EngineStats:
        return EngineStats(
            **msgspec.structs.asdict(self._counts),
            num_running=self._scheduler.num_running,
            num_waiting=self._scheduler.num_waiting,
            num_cells_used=self._slots.num_cells_used,
            num_cells=self._num_cells,
            parked_bytes=self._slots.parking.num_bytes,
        )


def make_loop(
    backend: Backend,
    config: EngineConfig,
    publish: Callable[[Step], None],
    clock_ns: Callable[[], int],
    interrupts: Interrupts,
) -> Loop:
    """A loop over a backend that was loaded with this configuration."""
    num_slots, num_cells = backend.num_slots, backend.num_cells
    slots = Slots(
        num_slots,
        cells=None if num_cells is None else Cells(num_cells, num_slots),
        parking=Parking(config.parking_bytes),
        can_branch=backend.can_rewind,
        is_shared=config.share_prefixes,
    )
    scheduler = Scheduler(slots, parallel=config.parallel, batch=config.batch, queue=config.queue)
    return Loop(
        backend,
        scheduler,
        publish,
        clock_ns,
        interrupts,
        batch=config.batch,
        speculate=config.speculate,
    )


def _rows(chunk: Chunk) -> list[Row]:
    """The rows of a chunk; only those that are sampled from want logits."""
    slot, tokens, last = chunk.sequence.slot, chunk.sequence.tokens, chunk.stop - 1
    rows = [
        Row(slot, at, tokens[at], chunk.is_last and at == last)
        for at in range(chunk.start, chunk.stop)
    ]
    return rows + [Row(slot, chunk.stop + n, token, True) for n, token in enumerate(chunk.draft)]
