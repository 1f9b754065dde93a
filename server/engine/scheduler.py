"""Which requests run, and which of their tokens the next step computes. Values in, values
out: no clock, no C.

A step takes one token of every generating sequence first, then prompt chunks in the order
of admission, as many rows as it is allowed, so that streams keep flowing while a long
prompt is read. Of the images that are next in their prompts the first one is read, whole. A
request whose beginning is just being computed for another one waits for that and then starts
with a copy.
"""

from collections import Counter
from dataclasses import dataclass, field

from server.engine.image_tokens import is_image, whole_after, whole_before
from server.engine.sequence import Sequence
from server.engine.slots import Placement, Slots
from server.engine.waiting import Waiting

# A beginning that is this much longer than what is there already is worth waiting for.
MIN_COMING_TOKENS = 32

# Unified memory: room that is left for each running sequence when another one is admitted,
# so that it is not preempted again at once.
HEADROOM_TOKENS = 16

# A stream has only begun while it has fewer tokens than this.
BEGINNING_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Admission:
    """The next sequence to run, and where it goes."""

    sequence: Sequence
    placement: Placement


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `stop` of a sequence, then guesses at those that follow.

    The last token is sampled from if `is_last`, and then each guess that was right.
    """

    sequence: Sequence
    start: int
    stop: int
    draft: list[int] = field(default_factory=list)

    @property
    def is_last(self) -> bool:
        return self.stop == len(self.sequence.tokens)

    @property
    def is_image(self) -> bool:
        """Whether it is just one image."""
        return is_image(self.sequence.tokens[self.start])

    @property
    def num_rows(self) -> int:
        return self.stop - self.start + len(self.draft)


class Scheduler:
    """Owns the queue and the slots; knows every sequence that is not finished."""

    def __init__(self, slots: Slots, *, parallel: int, batch: int, queue: int) -> None:
        """At most `parallel` sequences run, a step has at most `batch` rows, and at most
        `queue` requests wait besides those that a free slot waits for."""
        self.slots = slots
        self._parallel = parallel
        self._batch = batch
        self._queue = queue
        self._waiting = Waiting()
        self._running: dict[int, Sequence] = {}
        # Who waits for whose prompt, and for how much of it.
        self._leaders: dict[int, tuple[Sequence, int]] = {}

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

    @property
    def num_decoding(self) -> int:
        """How many sequences take one token of the next step."""
        return sum(s.is_decoding for s in self._running.values())

    @property
    def begin_together(self) -> bool:
        """Whether all streams that run have only begun, and all prompts that are read beside
        them had come before the first of them did."""
        decoding = [s for s in self._running.values() if s.is_decoding]
        begun_ns = min((s.first_ns for s in decoding), default=0)
        return all(s.num_output < BEGINNING_TOKENS for s in decoding) and all(
            s.submitted_ns <= begun_ns for s in self._running.values()
        )

    def submit(self, sequence: Sequence) -> Sequence | None:
        """Queue a sequence. Raises `QueueFull`; one that a free slot waits for always passes.

        Returns a request of another owner that has to make room, if one has.
        """
        num_free = self._parallel - len(self._running)
        return self._waiting.push(sequence, self._queue + num_free)

    def next(self) -> Admission | None:
        """Who gets a free slot now; None if nobody waits or nothing is free.

        One at a time, because the next one may want to copy what this one brings. The
        caller moves the cells and calls `start`.
        """
        num_free = self._parallel - len(self._running)
        if not num_free or not self._waiting:
            return None
        running = Counter(s.request.owner for s in self._running.values())
        does_one_follow = False
        for sequence in self._waiting.in_order(running):
            # A slot stays free for those who wait for a copy: for one, who leads the next.
            if num_free <= does_one_follow:
                return None
            if self._still_follows(sequence):
                does_one_follow = True
                continue
            placement = self.slots.place(sequence.tokens, self.slots.holder_of(sequence))
            if placement is None or not self._fits(sequence, placement):
                return None
            if not self._follow(sequence, placement.keep):
                return Admission(sequence, placement)
            does_one_follow = True
        return None

    def start(self, admission: Admission, kept: int) -> None:
        """A sequence runs from now; its slot holds its first `kept` tokens."""
        sequence = admission.sequence
        self._waiting.take(sequence)
        self._leaders.pop(sequence.id, None)
        self.slots.take(admission.placement, kept, sequence)
        self._running[sequence.id] = sequence

    def schedule(self, prompt_rows: int) -> list[Chunk]:
        """The chunks of the next step, by slot id, that of an image last; empty when nothing
        runs.

        At most `prompt_rows` rows are of prompts: half of them are for the one that was
        admitted first, the others go to the shortest, so that neither waits for the other.
        """
        decoding = [s for s in self._running.values() if s.is_decoding]
        rows = {s.id: 1 for s in decoding}
        left = min(prompt_rows, self._batch - len(decoding))
        reading = [s for s in self._running.values() if not s.is_decoding]
        oldest = reading[:1]
        for sequence in (*oldest, *sorted(reading, key=lambda s: s.num_pending), *oldest):
            had = rows.get(sequence.id, 0)
            most = (left + 1) // 2 if not had and sequence in oldest else left
            rows[sequence.id] = had + min(sequence.num_pending - had, most)
            left -= rows[sequence.id] - had
        chunks = [_chunk(s, rows[s.id]) for s in self._running.values() if rows[s.id]]
        image = next((chunk for chunk in chunks if chunk.is_image), None)
        if image is not None:
            chunks = [chunk for chunk in chunks if not chunk.is_image]
        chunks.sort(key=lambda chunk: chunk.sequence.slot)
        return chunks if image is None else [*chunks, image]

    def num_missing_cells(self, chunks: list[Chunk]) -> int:
        """Cells that a step lacks; never any in split memory."""
        if self.slots.cells is None:
            return 0
        return max(0, sum(c.num_rows for c in chunks) - self.slots.cells.num_free)

    def num_free_rows(self, chunks: list[Chunk]) -> int:
        """How many rows a step may have beside these without making room for them."""
        num_rows = sum(c.num_rows for c in chunks)
        free = self._batch if self.slots.cells is None else self.slots.cells.num_free
        return max(0, min(self._batch, free) - num_rows)

    def commit(self, sequence: Sequence, num_tokens: int) -> None:
        """So many more tokens of a running sequence are computed."""
        sequence.num_computed += num_tokens
        if self.slots.cells is not None:
            self.slots.cells.extend(sequence.slot, num_tokens)

    def rewind(self, sequence: Sequence, length: int) -> None:
        """Only the first `length` tokens of a running sequence are computed still."""
        sequence.num_computed = length
        if self.slots.cells is not None:
            self.slots.cells.cut(sequence.slot, length)

    def shift(self, sequence: Sequence, keep: int, discard: int) -> None:
        """The cells of `discard` tokens behind the first `keep` are gone."""
        sequence.drop(keep, discard)
        sequence.num_computed -= discard
        if self.slots.cells is not None:
            self.slots.cells.cut(sequence.slot, keep, keep + discard)

    def preempt(self) -> int | None:
        """Take the slot of the sequence that got one last, unless it is the only one; which
        slot that is.

        It goes on later with all of its tokens; its prefix stays cached.
        """
        if len(self._running) < 2:
            return None
        sequence = self._running.popitem()[1]
        slot = sequence.slot
        self.slots.release(sequence)
        sequence.slot, sequence.num_computed = -1, 0
        self._waiting.push_back(sequence)
        return slot

    def remove(self, sequence_id: int) -> Sequence | None:
        """Forget a sequence, wherever it is, and free its slot (`slot` still tells which).
        None if not known."""
        self._leaders.pop(sequence_id, None)
        sequence = self._running.pop(sequence_id, None)
        if sequence is None:
            return self._waiting.remove(sequence_id)
        self.slots.release(sequence)
        return sequence

    def check_integrity(self) -> None:
        """Raise AssertionError if a slot has leaked or a sequence is lost."""
        self.slots.check_integrity()
        owners = {s.id for s in self.slots.owners}
        if owners != set(self._running):
            raise AssertionError(f"owners {owners}, running {set(self._running)}")
        if owners & set(self._waiting.ids()):
            raise AssertionError("a sequence runs and waits")

    def _follow(self, sequence: Sequence, keep: int) -> bool:
        """Whether somebody reads a prompt that begins like this one, for much longer than the
        `keep` tokens that are there; then this one waits for that."""
        holder = self.slots.holder_of(sequence)
        leader, length = self.slots.coming_prefix(sequence.tokens, holder)
        if leader is None or length < keep + MIN_COMING_TOKENS:
            return False
        self._leaders[sequence.id] = (leader, length)
        return True

    def _still_follows(self, sequence: Sequence) -> bool:
        """Whether what it waits for is still being read."""
        leader, length = self._leaders.get(sequence.id, (None, 0))
        if leader is None:
            return False
        is_running = self._running.get(leader.id) is leader
        return is_running and leader.num_computed + MIN_COMING_TOKENS <= length

    def _fits(self, sequence: Sequence, placement: Placement) -> bool:
        """Whether the memory holds this sequence beside all that run, cached prefixes aside."""
        cells = self.slots.cells
        if cells is None or not self._running:
            return True
        running = self._running.values()
        shared = (0, 0) if placement.source is None else (placement.source, placement.keep)
        held = cells.num_held_by((s.slot for s in running), shared)
        known = held + sum(s.num_pending for s in running) + len(sequence.tokens) - shared[1]
        return known + HEADROOM_TOKENS * (len(running) + 1) <= cells.total


def shift_for(sequence: Sequence) -> tuple[int, int]:
    """How a full window is shifted: (tokens kept in front, tokens dropped behind them).

    Half of what is not kept goes, as in Ollama (facts of its runner), and images go or stay
    as a whole. At least one token is dropped and at least one behind the kept ones stays.
    """
    limit, tokens = sequence.limit, sequence.tokens
    keep = whole_before(tokens, max(0, min(sequence.request.num_keep, limit - 2)))
    stop = whole_after(tokens, keep + max(1, (limit - keep) // 2))
    return keep, stop - keep


def _chunk(sequence: Sequence, num_rows: int) -> Chunk:
    """So many tokens of a sequence, or fewer up to an image, or the image that comes next."""
    start, tokens = sequence.num_computed, sequence.tokens
    stop = start + num_rows
    if not sequence.request.images:
        return Chunk(sequence, start, stop)
    if is_image(tokens[start]):
        return Chunk(sequence, start, whole_after(tokens, start + 1))
    images = (at for at in range(start, stop) if is_image(tokens[at]))
    return Chunk(sequence, start, next(images, stop))
