"""Which tokens are computed in the next step. Values in, values out: no clock, no C.

A step takes one token of every generating sequence first, then prompt chunks in the
order of arrival, as many as the budget allows, so that streams keep flowing while a
long prompt is read.
"""

from collections import deque
from dataclasses import dataclass

from server.engine.sequence import Sequence
from server.engine.slots import Placement, Slots


class QueueFull(Exception):
    """As many requests wait as may wait."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A sequence that got a slot, and what the loop has to do for it."""

    sequence: Sequence
    placement: Placement


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `stop` of a sequence; the last one is sampled from if `is_last`."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        return self.stop == len(self.sequence.tokens)


class Scheduler:
    """Owns the queue and the slots; knows every sequence that is not finished."""

    def __init__(self, *, slots: int, batch: int, prompt_budget: int, queue: int) -> None:
        self.slots = Slots(slots)
        self._batch = batch
        self._prompt_budget = min(prompt_budget, batch)
        self._queue = queue
        self._waiting: deque[Sequence] = deque()
        self._running: dict[int, Sequence] = {}

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._waiting

    @property
    def running(self) -> list[Sequence]:
        """Sequences that hold a slot, in the order in which they got it."""
        return list(self._running.values())

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises `QueueFull`; one that a free slot waits for always passes."""
        if len(self._waiting) >= self._queue + self.slots.num_free:
            raise QueueFull
        self._waiting.append(sequence)

    def admit(self) -> Admission | None:
        """Give a free slot to the request that waits longest; None if either is missing.

        One at a time, because the next one may want to copy what this one brings.
        """
        if not self._waiting:
            return None
        placement = self.slots.place(self._waiting[0].tokens)
        if placement is None:
            return None
        sequence = self._waiting.popleft()
        self.slots.take(placement, sequence)
        self._running[sequence.id] = sequence
        return Admission(sequence, placement)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, by slot id; empty when nothing runs."""
        # One that has to be computed again is read like a prompt, in chunks.
        decoding = {s for s in self._running.values() if s.is_decoding and s.num_pending == 1}
        chunks = [Chunk(s, s.num_computed, len(s.tokens)) for s in decoding]
        room = self._batch - len(chunks)
        budget = min(self._prompt_budget if chunks else self._batch, room)
        for sequence in self._running.values():
            if sequence in decoding or budget <= 0:
                continue
            stop = min(len(sequence.tokens), sequence.num_computed + budget)
            budget -= stop - sequence.num_computed
            chunks.append(Chunk(sequence, sequence.num_computed, stop))
        return sorted(chunks, key=lambda chunk: chunk.sequence.slot)

    def commit(self, chunks: list[Chunk]) -> None:
        """The chunks have been computed."""
        for chunk in chunks:
            chunk.sequence.num_computed = chunk.stop

    def remove(self, sequence_id: int) -> Sequence | None:
        """Forget a sequence, wherever it is, and free its slot. None if not known."""
        sequence = self._running.pop(sequence_id, None)
        if sequence is not None:
            self.slots.release(sequence)
            return sequence
        for waiting in self._waiting:
            if waiting.id == sequence_id:
                self._waiting.remove(waiting)
                return waiting
        return None

    def check_integrity(self) -> None:
        """Raise AssertionError if a slot has leaked or a sequence is lost."""
        self.slots.check_integrity()
        owners = {s.id for s in self.slots.owners}
        if owners != set(self._running):
            raise AssertionError(f"owners {owners}, running {set(self._running)}")


def shift_for(sequence: Sequence) -> tuple[int, int]:
    """How a full window is shifted: (tokens kept in front, tokens dropped behind them).

    Half of what is not kept goes, as in Ollama (facts of its runner). At least one
    token is dropped and at least one behind the kept ones stays.
    """
    limit = sequence.limit
    keep = max(0, min(sequence.request.num_keep, limit - 2))
    return keep, max(1, (limit - keep) // 2)
