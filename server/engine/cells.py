"""How many cells of a unified memory are used, when a forked prefix is shared, not copied.

A cell holds the keys and values of one token of the sequences that refer to it. Which one
it is in C does not matter; here each has a number of its own, so that sharing is counted
exactly. What a slot holds is kept as runs of numbers, few however long its text is.
"""

from collections.abc import Iterable, Iterator

_Run = tuple[int, int]
# How far the numbers that two slots give are apart.
_NUMBERS = 1 << 40


class Cells:
    """The books of one memory of `total` cells, by slot. Moves nothing."""

    def __init__(self, total: int, slots: int) -> None:
        self.total = total
        self._num_used = 0
        self._held: list[list[_Run]] = [[] for _ in range(slots)]
        # The number that a slot gives next; nobody holds it or one above.
        self._next = [slot * _NUMBERS for slot in range(slots)]
        # Nothing behind so many tokens of a slot is shared.
        self._shared = [0] * slots

    @property
    def num_used(self) -> int:
        """Cells that at least one slot refers to."""
        return self._num_used

    @property
    def num_free(self) -> int:
        return self.total - self._num_used

    def length(self, slot: int) -> int:
        """Tokens of a slot, whether shared or not."""
        return _length(self._held[slot])

    def num_held_by(self, slots: Iterable[int], beginning: tuple[int, int] = (0, 0)) -> int:
        """Cells that these slots and the `beginning` (a slot and how many tokens of it)
        refer to together, shared ones once."""
        slot, length = beginning
        held = list(_part(self._held[slot], 0, length))
        for slot in slots:
            held += self._held[slot]
        return _num_distinct(held)

    def is_shared(self, slot: int, start: int) -> bool:
        """Whether another slot refers to any cell of this one from `start` on."""
        if start >= self._shared[slot]:
            return False
        mine = list(_part(self._held[slot], start, self.length(slot)))
        others = [run for other, held in enumerate(self._held) if other != slot for run in held]
        return _num_distinct(others + mine) < _num_distinct(others) + _length(mine)

    def extend(self, slot: int, count: int) -> None:
        """A slot has computed `count` more tokens."""
        if not count:
            return
        start = self._next[slot]
        self._next[slot] = stop = start + count
        held = self._held[slot]
        if held and held[-1][1] == start:
            start = held.pop()[0]
        held.append((start, stop))
        self._num_used += count

    def share(self, source: int, target: int, length: int) -> None:
        """The empty slot `target` refers to the first `length` cells of `source`."""
        if self._held[target]:
            raise AssertionError(f"slot {target} is not empty")
        self._held[target] = list(_part(self._held[source], 0, length))
        self._shared[source] = max(self._shared[source], length)
        self._shared[target] = length

    def cut(self, slot: int, start: int, stop: int | None = None) -> None:
        """A slot refers no longer to its cells from `start` to `stop` (its end)."""
        held = self._held[slot]
        length = _length(held)
        stop = length if stop is None else stop
        gone = list(_part(held, start, stop))
        self._held[slot] = [*_part(held, 0, start), *_part(held, stop, length)]
        if start < self._shared[slot]:
            self._shared[slot] = start if stop >= self._shared[slot] else self._shared[slot]
            self._num_used = _num_distinct(run for runs in self._held for run in runs)
            return
        self._num_used -= _length(gone)
        if gone and gone[-1][1] == self._next[slot]:
            # Given again, so that a text whose end is often taken back stays one run.
            self._next[slot] = gone[-1][0]

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        if self._num_used != _num_distinct(run for runs in self._held for run in runs):
            raise AssertionError("cells and their holders disagree")
        if self._num_used > self.total:
            raise AssertionError(f"{self._num_used} cells used of {self.total}")


def _length(runs: Iterable[_Run]) -> int:
    return sum(stop - start for start, stop in runs)


def _part(runs: Iterable[_Run], start: int, stop: int) -> Iterator[_Run]:
    """Cells `start` to `stop` of what the runs hold one after the other."""
    at = 0
    for first, last in runs:
        begin, end = max(start - at, 0), min(stop - at, last - first)
        if begin < end:
            yield first + begin, first + end
        at += last - first


def _num_distinct(runs: Iterable[_Run]) -> int:
    """How many numbers there are in runs that may overlap."""
    count = reached = 0
    for start, stop in sorted(runs):
        if stop > reached:
            count += stop - max(start, reached)
            reached = stop
    return count
