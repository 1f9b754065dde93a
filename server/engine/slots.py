"""The slots of a context and the prefixes that stay in them after use.

A slot is one sequence id of the C context with `context` cells of its own. When its
request ends, its tokens stay as a cached prefix until the slot is needed.
"""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from server.engine.sequence import Sequence

_BLOCK = 128

# An idle slot is taken over in place when that loses no more than this many cached
# tokens; otherwise its prefix is copied to another idle slot and it stays whole.
MAX_LOST_TOKENS = 64


def common_prefix(a: Tokens[int], b: Tokens[int]) -> int:
    """How many leading tokens two sequences share."""
    end = min(len(a), len(b))
    at = 0
    while at < end and a[at : at + _BLOCK] == b[at : at + _BLOCK]:
        at += _BLOCK
    at = min(at, end)
    while at < end and a[at] == b[at]:
        at += 1
    return at


@dataclass(slots=True)
class Slot:
    """One sequence id. `cached` is what its cells hold while nobody owns it."""

    id: int
    cached: list[int] = field(default_factory=list)
    owner: Sequence | None = None
    last_used: int = 0

    @property
    def computed(self) -> list[int]:
        """The tokens whose keys and values lie in this slot, as far as others may use them.

        After a context shift they still carry what was dropped, so nobody else may.
        """
        if self.owner is None:
            return self.cached
        if self.owner.num_shifted:
            return []
        return self.owner.tokens[: self.owner.num_computed]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence goes: `slot`, with the first `keep` tokens of `source`."""

    slot: int
    source: int
    keep: int


class Slots:
    """All slots of one context. Pure bookkeeping: the loop moves the cells."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(i) for i in range(count)]
        self._clock = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, slot: int) -> Slot:
        return self._slots[slot]

    @property
    def owners(self) -> list[Sequence]:
        """Running sequences by slot id."""
        return [s.owner for s in self._slots if s.owner is not None]

    @property
    def num_free(self) -> int:
        """Slots without an owner."""
        return sum(s.owner is None for s in self._slots)

    def place(self, tokens: Tokens[int]) -> Placement | None:
        """The slot for a prompt, and the longest prefix it can start with.

        At least the last token is left to compute, because its logits are needed.
        None when every slot is owned.
        """
        idle = [s for s in self._slots if s.owner is None]
        if not idle:
            return None
        best, keep = self._longest_prefix(tokens)
        if keep == 0:
            return Placement(slot=self._least_used(idle).id, source=-1, keep=0)
        others = [s for s in idle if s is not best]
        in_place = best.owner is None and (not others or len(best.cached) - keep <= MAX_LOST_TOKENS)
        target = best if in_place else self._least_used(others)
        return Placement(slot=target.id, source=best.id, keep=keep)

    def take(self, placement: Placement, sequence: Sequence) -> None:
        """Give a slot to a sequence; `placement` comes from `place`."""
        slot = self._slots[placement.slot]
        slot.owner, slot.cached = sequence, []
        sequence.slot = slot.id
        sequence.num_computed = sequence.num_cached = placement.keep

    def release(self, sequence: Sequence) -> None:
        """Take the slot back; what was computed stays as a cached prefix."""
        slot = self._slots[sequence.slot]
        slot.cached = slot.computed
        slot.owner = None
        sequence.slot = -1
        self._clock += 1
        slot.last_used = self._clock

    def forget(self, slot: int) -> None:
        """The cells of an idle slot are gone."""
        self._slots[slot].cached = []

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        for slot in self._slots:
            owner = slot.owner
            if owner is None:
                continue
            if owner.slot != slot.id:
                raise AssertionError(f"slot {slot.id} and its owner disagree")
            if slot.cached:
                raise AssertionError(f"slot {slot.id} is owned and cached")
            if not 0 <= owner.num_computed <= len(owner.tokens):
                raise AssertionError(f"slot {slot.id} over-computed")

    def _longest_prefix(self, tokens: Tokens[int]) -> tuple[Slot, int]:
        most = len(tokens) - 1
        found = ((s, min(common_prefix(s.computed, tokens), most)) for s in self._slots)
        # Among equals an idle slot is better (no copy), then the shorter one (less lost).
        return max(found, key=lambda pair: (pair[1], pair[0].owner is None, -len(pair[0].computed)))

    @staticmethod
    def _least_used(idle: list[Slot]) -> Slot:
        # Empty slots first and the lowest of them: a batch whose rows have contiguous
        # sequence ids is decoded in one piece.
        return min(idle, key=lambda s: (bool(s.cached), s.last_used, s.id))
