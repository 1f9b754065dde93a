"""The slots of a context, and the prefixes that stay in them after use.

A slot is one sequence id of the C context. Split memory gives each slot `context` cells of
its own; in unified memory all slots share one pool, whose books `cells` keeps. When the
request of a slot ends, its tokens stay as a cached prefix until the slot or the space is
needed, and may be parked in host memory then. Only requests of the same key find it: how
many tokens were there already, and how fast the first one comes, would tell anybody else
what was said. `is_shared` lets all find it.

With split memory llama.cpp computes the rows of a step in one piece only where the sequence
ids have no gap, and reads all weights again for each further piece. So running sequences
are kept side by side.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from server.engine.cells import Cells
from server.engine.parking import Parked, Parking
from server.engine.prefix import Known, TokenArray, common_prefix, longest_prefix, token_array
from server.engine.sequence import Sequence

# So many tokens are computed about as fast as a long slot is copied, so they may be lost.
MAX_LOST_TOKENS = 64

# A common beginning of fewer tokens, such as a model's first token, is not worth a copy.
MIN_SHARED_TOKENS = 8


@dataclass(slots=True)
class Slot:
    """One sequence id. `cached` is what its cells hold while nobody owns it, `holder` the key
    that it was computed for."""

    id: int
    cached: TokenArray = field(default_factory=token_array)
    owner: Sequence | None = None
    holder: str = ""
    last_used: int = 0

    @property
    def tokens(self) -> TokenArray:
        """What others may find here: tokens, of which the first `num_usable` are computed."""
        return self.cached if self.owner is None else self.owner.tokens

    @property
    def num_usable(self) -> int:
        """How many tokens of this slot others may use now.

        After a context shift its keys and values still carry what was dropped, so none.
        """
        if self.owner is None:
            return len(self.cached)
        return 0 if self.owner.num_shifted else self.owner.num_computed

    @property
    def num_coming(self) -> int:
        """How many tokens others may use when the prompt that is being read here is read."""
        if self.owner is None or self.owner.num_shifted or self.owner.num_pending <= 1:
            return 0
        return len(self.owner.tokens)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence goes: `slot`, with the first `keep` tokens of the slot `source`
    (perhaps the same one) or of a `parked` state, or with nothing."""

    slot: int
    source: int | None = None
    keep: int = 0
    parked: Parked | None = None


class Slots:
    """All slots of one context. Pure bookkeeping: the loop moves the cells."""

    def __init__(
        self,
        count: int,
        *,
        cells: Cells | None = None,
        parking: Parking | None = None,
        can_branch: bool = True,
        is_shared: bool = False,
    ) -> None:
        """`cells` for a unified memory, None for a split one. Without `can_branch` what is
        cached can only be gone on from where it ends, as in recurrent models."""
        self._slots = [Slot(i) for i in range(count)]
        self._clock = 0
        self._can_branch = can_branch
        self._is_shared = is_shared
        self.cells = cells
        self.parking = Parking(0) if parking is None else parking

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, slot: int) -> Slot:
        return self._slots[slot]

    @property
    def owners(self) -> list[Sequence]:
        """Running sequences by slot id."""
        return [s.owner for s in self._slots if s.owner is not None]

    @property
    def num_cells_used(self) -> int:
        """Cells that hold a token, running or cached."""
        if self.cells is not None:
            return self.cells.num_used
        return sum(s.owner.num_computed if s.owner else len(s.cached) for s in self._slots)

    def computed(self) -> dict[int, list[int]]:
        """The tokens whose cells each slot holds."""
        return {
            s.id: list(s.owner.tokens[: s.owner.num_computed] if s.owner else s.cached)
            for s in self._slots
        }

    def holder_of(self, sequence: Sequence) -> str:
        """Who may go on from what is computed for a sequence; empty if all may."""
        return "" if self._is_shared else sequence.request.owner

    def place(self, tokens: Tokens[int], holder: str = "") -> Placement | None:
        """The slot for a prompt, and the longest prefix it can start with.

        At least the last token is left to compute, because its logits are needed.
        None when every slot is owned.
        """
        idle = [s for s in self._slots if s.owner is None]
        if not idle:
            return None
        best, keep = self._longest_prefix(tokens, holder)
        most, whole = len(tokens) - 1, not self._can_branch
        parked, length = self.parking.longest(tokens, most, holder, whole=whole)
        if parked is not None and length > keep + MAX_LOST_TOKENS:
            return Placement(_least_used(idle).id, keep=length, parked=parked)
        others = [s for s in idle if s is not best]
        is_hardly_cut = len(best.cached) - keep <= MAX_LOST_TOKENS
        if keep and best.owner is None and (is_hardly_cut or not others):
            return Placement(best.id, best.id, keep)
        if keep < MIN_SHARED_TOKENS:
            return self._start_anew(idle, tokens, holder)
        return Placement(self._beside_running(others).id, best.id, keep)

    def spare_for(self, slot: int, source: int | None = None) -> int | None:
        """An idle slot, not `source`, that holds what was used longer ago than what this idle
        one holds: the place to copy that to. None if it is not worth a copy."""
        mine = self._slots[slot]
        if self.cells is not None or len(mine.cached) <= MAX_LOST_TOKENS:
            return None
        others = [s for s in self._slots if s.owner is None and s.id not in (slot, source)]
        spare = _least_used([mine, *others])
        return None if spare is mine else spare.id

    def move_cached(self, slot: int, spare: int) -> None:
        """What `slot` had cached is in `spare` now."""
        old, new = self._slots[slot], self._slots[spare]
        new.cached, new.holder, new.last_used = old.cached, old.holder, old.last_used
        old.cached = token_array()

    def next_move(self) -> tuple[int, int] | None:
        """Split memory: a running sequence's slot and the idle one it should go to, so that the
        running ones come side by side; None if they are."""
        if self.cells is not None:
            return None
        running = [s.id for s in self._slots if s.owner is not None]
        count = len(running)
        if count < 2 or running[-1] - running[0] == count - 1:
            return None
        starts = range(len(self._slots) - count + 1)
        start = max(starts, key=lambda at: sum(at <= slot < at + count for slot in running))
        place = range(start, start + count)
        source = next(slot for slot in reversed(running) if slot not in place)
        return source, next(slot for slot in place if slot not in running)

    def move_owner(self, slot: int, target: int) -> Sequence:
        """Who runs in `slot` runs in the idle `target` from now; who that is."""
        old, new = self._slots[slot], self._slots[target]
        if old.owner is None or new.owner is not None:
            raise AssertionError(f"nobody can move from slot {slot} to {target}")
        new.owner, new.holder, old.owner = old.owner, old.holder, None
        new.cached = token_array()
        new.owner.slot = target
        return new.owner

    def coming_prefix(self, tokens: Tokens[int], holder: str = "") -> tuple[Sequence | None, int]:
        """Who is reading a prompt that begins like this one, and how far they are the same."""
        return longest_prefix(tokens, len(tokens) - 1, self._coming(holder))

    def is_worth_parking(self, slot: int, keep: int) -> bool:
        """Whether much would be lost if only `keep` tokens of this idle slot stayed."""
        cached, holder = self._slots[slot].cached, self._slots[slot].holder
        least = len(cached) - MAX_LOST_TOKENS
        is_kept = keep >= least if self._can_branch else keep == len(cached)
        if not self.parking.is_open or least <= 0 or is_kept:
            return False
        if self.parking.holds(cached, holder):
            return False
        return not any(
            common_prefix(s.tokens, cached, s.num_usable) >= least
            for s in self._slots
            if s.id != slot and s.holder == holder and s.num_usable >= least
        )

    def take(self, placement: Placement, kept: int, sequence: Sequence) -> None:
        """Give a slot to a sequence. The loop has moved the cells, `kept` tokens are there."""
        slot = self._slots[placement.slot]
        self._book(placement, kept)
        slot.owner, slot.holder, slot.cached = sequence, self.holder_of(sequence), token_array()
        sequence.slot = slot.id
        sequence.num_computed = kept

    def release(self, sequence: Sequence) -> None:
        """Take the slot back; what others may use of it stays as a cached prefix."""
        slot = self._slots[sequence.slot]
        cached = sequence.tokens[: slot.num_usable]
        slot.owner, slot.cached = None, cached
        if self.cells is not None:
            self.cells.cut(slot.id, len(cached))
        self._clock += 1
        slot.last_used = self._clock

    def least_recent(self) -> Slot | None:
        """The cached prefix that was used longest ago."""
        cached = [s for s in self._slots if s.owner is None and s.cached]
        return _least_used(cached) if cached else None

    def cut(self, slot: int, length: int) -> None:
        """An idle slot holds only its first `length` tokens now."""
        self._slots[slot].cached = self._slots[slot].cached[:length]
        if self.cells is not None:
            self.cells.cut(slot, length)

    def could_hold(self, num_cells: int) -> bool:
        """Whether unified memory has so many cells beside those of running sequences."""
        if self.cells is None:
            return True
        running = self.cells.num_held_by(s.id for s in self._slots if s.owner is not None)
        return running + num_cells <= self.cells.total

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        self.parking.check_integrity()
        for slot in self._slots:
            if slot.owner is not None:
                _check_owner(slot, slot.owner)
        if self.cells is None:
            return
        self.cells.check_integrity()
        for slot in self._slots:
            held = slot.owner.num_computed if slot.owner else len(slot.cached)
            if self.cells.length(slot.id) != held:
                raise AssertionError(f"slot {slot.id} holds {held} tokens, the books say otherwise")

    def _book(self, placement: Placement, kept: int) -> None:
        if self.cells is None:
            return
        slot, source = placement.slot, placement.source
        if source == slot:
            self.cells.cut(slot, kept)
            return
        self.cells.cut(slot, 0)
        if source is not None:
            self.cells.share(source, slot, kept)
        else:
            self.cells.extend(slot, kept)

    def _longest_prefix(self, tokens: Tokens[int], holder: str) -> tuple[Slot, int]:
        most = len(tokens) - 1
        # Among equals an idle slot is better (no copy), then the shorter one (less lost).
        best_first = sorted(self._slots, key=lambda s: (s.owner is not None, s.num_usable))
        known = [Known(s, s.tokens, s.num_usable) for s in best_first if s.holder == holder]
        found = longest_prefix(tokens, most, known, whole=not self._can_branch)
        return found[0] or best_first[0], found[1]

    def _coming(self, holder: str) -> Iterator[Known[Sequence]]:
        for slot in self._slots if self._can_branch else ():
            if slot.owner is not None and slot.num_coming and slot.holder == holder:
                yield Known(slot.owner, slot.tokens, slot.num_coming)

    def _start_anew(self, idle: list[Slot], tokens: Tokens[int], holder: str) -> Placement:
        """A slot for a prompt that has next to nothing in common with any other."""
        target = self._beside_running(idle)
        if not self._can_branch or target.holder != holder:
            return Placement(target.id)
        keep = common_prefix(target.cached, tokens, len(tokens) - 1)
        return Placement(target.id, target.id if keep else None, keep)

    def _beside_running(self, idle: list[Slot]) -> Slot:
        """The idle slot that leaves the fewest gaps between running ones."""
        if self.cells is not None:
            return _least_used(idle)
        running = {s.id for s in self._slots if s.owner is not None}
        neighbours = {s.id: len(running & {s.id - 1, s.id + 1}) for s in idle}
        most = max(neighbours.values())
        return _least_used([s for s in idle if neighbours[s.id] == most])


def _least_used(idle: list[Slot]) -> Slot:
    """An empty slot, or the one that was used longest ago."""
    return min(idle, key=lambda s: (bool(s.cached), s.last_used, s.id))


def _check_owner(slot: Slot, owner: Sequence) -> None:
    if owner.slot != slot.id:
        raise AssertionError(f"slot {slot.id} and its owner disagree")
    if slot.cached:
        raise AssertionError(f"slot {slot.id} is owned and cached")
    if not 0 <= owner.num_computed <= len(owner.tokens):
        raise AssertionError(f"slot {slot.id} over-computed")
