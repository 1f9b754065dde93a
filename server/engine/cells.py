"""How many cells of a unified memory are used, when a forked prefix is shared, not copied.

A cell holds the keys and values of one token of the sequences that refer to it. Which one
it is in C does not matter; here each has a number of its own, so that sharing is counted
exactly.
"""

from collections import Counter
from collections.abc import Iterable


class Cells:
    """The books of one memory of `total` cells, by slot. Moves nothing."""

    def __init__(self, total: int, slots: int) -> None:
        self.total = total
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self._holders: Counter[int] = Counter()
        self._next = 0

    @property
    def num_used(self) -> int:
        """Cells that at least one slot refers to."""
        return len(self._holders)

    @property
    def num_free(self) -> int:
        return self.total - self.num_used

    def length(self, slot: int) -> int:
        """Tokens of a slot, whether shared or not."""
        return len(self._held[slot])

    def num_held_by(self, slots: Iterable[int], beginning: tuple[int, int] = (0, 0)) -> int:
        """Cells that these slots and the `beginning` (a slot and how many tokens of it)
        refer to together, shared ones once."""
        slot, length = beginning
        held = set(self._held[slot][:length])
        return len(held.union(*(self._held[slot] for slot in slots)))

    def is_shared(self, slot: int) -> bool:
        """Whether another slot refers to any cell of this one."""
        return any(self._holders[cell] > 1 for cell in self._held[slot])

    def extend(self, slot: int, count: int) -> None:
        """A slot has computed `count` more tokens."""
        new = range(self._next, self._next + count)
        self._next += count
        self._held[slot].extend(new)
        self._holders.update(new)

    def share(self, source: int, target: int, length: int) -> None:
        """The empty slot `target` refers to the first `length` cells of `source`."""
        if self._held[target]:
            raise AssertionError(f"slot {target} is not empty")
        self._held[target] = self._held[source][:length]
        self._holders.update(self._held[target])

    def cut(self, slot: int, start: int, stop: int | None = None) -> None:
        """A slot refers no longer to its cells from `start` to `stop` (its end)."""
        gone = self._held[slot][start:stop]
        del self._held[slot][start:stop]
        for cell in gone:
            self._holders[cell] -= 1
            if not self._holders[cell]:
                del self._holders[cell]

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        counted = Counter(cell for held in self._held for cell in held)
        if counted != self._holders:
            raise AssertionError("cells and their holders disagree")
        if self.num_used > self.total:
            raise AssertionError(f"{self.num_used} cells used of {self.total}")
