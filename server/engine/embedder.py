"""Which inputs are embedded in the next batch. Policy over the seam: no clock, no C.

Requests take turns, one input each, so that one of a thousand texts delays no other; a
batch holds inputs of all of them. While streams run a batch is small, because it stands
between two of their tokens.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.engine.backend import Backend, EmbedError, EmbedShape, Part, RequestError
from server.engine.interrupts import Interrupts
from server.engine.messages import Abort, Embed, Embedded, Failure, FailureKind, NotEmbedded
from server.engine.types import Embeddings, EmbedRequest

_log = logging.getLogger("akash_llm.embedder")

# The most rows between two tokens of a stream, where an input can be split. On a CPU a row
# costs a tenth more in a batch of 32 than in one of 256, and the streams wait an eighth.
ROWS_BESIDE_STREAMS = 32

_BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(slots=True, eq=False)
class _Job:
    """One request. `todo` are the inputs that no batch has taken yet."""

    id: int
    request: EmbedRequest
    submitted_ns: int
    todo: deque[int]
    vectors: dict[int, bytes] = field(default_factory=dict)
    begun_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a batch computes of one input."""

    job: _Job
    index: int
    lane: int
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        return self.stop == len(self.job.request.inputs[self.index])

    def part(self) -> Part:
        tokens = self.job.request.inputs[self.index]
        return Part(self.lane, self.start, tokens[self.start : self.stop], self.is_last)


class Embedder:
    """The queue of embedding requests of one backend; each is answered once by `publish`.

    At most `queue` of them wait or run. Nothing here blocks but the backend and `publish`.
    """

    def __init__(
        self,
        backend: Backend,
        publish: Callable[[Embedded | NotEmbedded], None],
        clock_ns: Callable[[], int],
        interrupts: Interrupts,
        *,
        queue: int,
    ) -> None:
        self._backend = backend
        self._publish = publish
        self._clock_ns = clock_ns
        self._interrupts = interrupts
        self._queue = queue
        self._jobs: dict[int, _Job] = {}
        self._turns: deque[_Job] = deque()
        # An input of which the last batch computed the beginning only.
        self._unfinished: _Piece | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to step."""
        return not self._jobs

    def submit(self, message: Embed, arrived_ns: int | None = None) -> None:
        """Queue a request that arrived then, or now, or answer at once that it cannot be done."""
        arrived_ns = self._clock_ns() if arrived_ns is None else arrived_ns
        todo = deque(range(len(message.request.inputs)))
        job = _Job(message.id, message.request, arrived_ns, todo)
        if len(self._jobs) >= self._queue:
            self._fail(job, "overloaded", _BUSY)
            return
        try:
            self._check(message.request)
        except RequestError as error:
            self._fail(job, "invalid_request", str(error))
            return
        self._jobs[job.id] = job
        self._turns.append(job)

    def abort(self, message: Abort) -> None:
        """Forget a request, waiting or half done."""
        self._forget(message.id)

    def step(self, *, beside_streams: bool) -> None:
        """One batch, if there is anything to compute."""
        if self.is_idle:
            return
        try:
            shape = self._backend.embed_shape()
        except EmbedError as error:
            self._fail_all(list(self._jobs.values()), error)
            return
        rows = min(shape.rows, ROWS_BESIDE_STREAMS) if beside_streams else shape.rows
        self._compute(self._plan(shape, rows))

    def _check(self, request: EmbedRequest) -> None:
        context = self._backend.info.context
        if not request.inputs:
            raise RequestError("there is no input")
        for tokens in request.inputs:
            if not tokens:
                raise RequestError("an input is empty")
            if len(tokens) > context:
                raise RequestError(f"an input has {len(tokens)} tokens, the context {context}")
            self._backend.check_tokens(tokens)

    def _plan(self, shape: EmbedShape, rows: int) -> list[_Piece]:
        """Inputs for one batch. The last one may be split; one that cannot be is taken
        whole as the first, whatever its length."""
        pieces: list[_Piece] = []
        if (begun := self._unfinished) is not None:
            stop = min(begun.stop + rows, len(begun.job.request.inputs[begun.index]))
            pieces.append(_Piece(begun.job, begun.index, begun.lane, begun.stop, stop))
            rows -= stop - begun.stop
        taken = {piece.lane for piece in pieces}
        lanes = [lane for lane in range(shape.lanes) if lane not in taken]
        while rows > 0 and lanes and self._turns:
            job = self._turns[0]
            length = len(job.request.inputs[job.todo[0]])
            if length > rows and not shape.can_split:
                if pieces:
                    break
                rows = length
            stop = min(length, rows)
            pieces.append(_Piece(job, job.todo.popleft(), lanes.pop(0), 0, stop))
            rows -= stop
            self._turns.popleft()
            if job.todo:
                self._turns.append(job)
        return pieces

    def _compute(self, pieces: list[_Piece]) -> None:
        self._unfinished = None
        now_ns = self._clock_ns()
        for piece in pieces:
            piece.job.begun_ns = piece.job.begun_ns or now_ns
        try:
            with self._interrupts.may_end(piece.job.id for piece in pieces):
                vectors = self._backend.embed([piece.part() for piece in pieces])
        except EmbedError as error:
            self._fail_all([piece.job for piece in pieces], error)
            return
        if vectors is None:
            self._start_over(pieces)
            return
        ended = [piece for piece in pieces if piece.is_last]
        for piece, vector in zip(ended, vectors, strict=True):
            self._finish(piece, vector)
        for piece in pieces:
            if not piece.is_last and piece.job.id in self._jobs:
                self._unfinished = piece

    def _start_over(self, pieces: list[_Piece]) -> None:
        for piece in reversed(pieces):
            if not piece.job.todo:
                self._turns.appendleft(piece.job)
            piece.job.todo.appendleft(piece.index)

    def _finish(self, piece: _Piece, vector: NDArray[np.float32]) -> None:
        job = piece.job
        if job.id not in self._jobs:
            return  # another of its inputs has failed
        if not np.isfinite(vector).all():
            self._fail(job, "invalid_request", "embedding contains NaN or Inf values")
            return
        job.vectors[piece.index] = unit(vector, job.request.dimensions).tobytes()
        if len(job.vectors) < len(job.request.inputs):
            return
        self._forget(job.id)
        embeddings = Embeddings(
            vectors=tuple(job.vectors[index] for index in range(len(job.vectors))),
            prompt_tokens=sum(len(tokens) for tokens in job.request.inputs),
            queue_ns=job.begun_ns - job.submitted_ns,
        )
        self._publish(Embedded(job.id, embeddings))

    def _fail_all(self, jobs: list[_Job], error: EmbedError) -> None:
        _log.error("embedding failed: %s", error)
        for job in jobs:
            if job.id in self._jobs:
                self._fail(job, "engine_crashed", str(error))

    def _fail(self, job: _Job, kind: FailureKind, message: str) -> None:
        self._forget(job.id)
        self._publish(NotEmbedded(job.id, Failure(kind, message)))

    def _forget(self, job_id: int) -> None:
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        if job in self._turns:
            self._turns.remove(job)
        if self._unfinished is not None and self._unfinished.job is job:
            self._unfinished = None


def unit(vector: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first `dimensions` components (all, if it is None or more) scaled to length 1,
    as little-endian floats; zeros stay zeros."""
    cut = vector[:dimensions].astype(np.float64)
    length = float(np.linalg.norm(cut))
    return (cut / length if length else cut).astype("<f4")
