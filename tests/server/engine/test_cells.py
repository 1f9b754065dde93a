"""The books of shared cells against books that write down every single one."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from server.engine.cells import Cells

NUM_SLOTS = 4
SLOT = st.integers(0, NUM_SLOTS - 1)
LENGTH = st.integers(0, 12)


class Plain:
    """A name for every cell."""

    def __init__(self) -> None:
        self._names = itertools.count()
        self.held: list[list[int]] = [[] for _ in range(NUM_SLOTS)]

    def extend(self, slot: int, count: int) -> None:
        self.held[slot] += itertools.islice(self._names, count)

    def used_by(self, slots: set[int]) -> set[int]:
        return {cell for slot in slots for cell in self.held[slot]}


@given(st.data())
def test_runs_count_what_single_cells_count(data: st.DataObject) -> None:
    plain, cells = Plain(), Cells(10_000, NUM_SLOTS)
    for _ in range(data.draw(st.integers(1, 30))):
        slot = data.draw(SLOT)
        match data.draw(st.sampled_from(["extend", "share", "cut", "shift"])):
            case "extend":
                count = data.draw(LENGTH)
                plain.extend(slot, count)
                cells.extend(slot, count)
            case "share" if not plain.held[slot]:
                source = data.draw(st.sampled_from([n for n in range(NUM_SLOTS) if n != slot]))
                length = data.draw(st.integers(0, len(plain.held[source])))
                plain.held[slot] = plain.held[source][:length]
                cells.share(source, slot, length)
            case "cut":
                start = data.draw(st.integers(0, len(plain.held[slot])))
                del plain.held[slot][start:]
                cells.cut(slot, start)
            case "shift":
                start = data.draw(st.integers(0, len(plain.held[slot])))
                stop = data.draw(st.integers(start, len(plain.held[slot])))
                del plain.held[slot][start:stop]
                cells.cut(slot, start, stop)
        cells.check_integrity()
        _check_same(data, plain, cells)


def _check_same(data: st.DataObject, plain: Plain, cells: Cells) -> None:
    everyone = set(range(NUM_SLOTS))
    assert cells.num_used == len(plain.used_by(everyone))
    assert [cells.length(slot) for slot in range(NUM_SLOTS)] == [len(h) for h in plain.held]
    slot, some = data.draw(SLOT), data.draw(st.sets(SLOT))
    start = data.draw(st.integers(0, len(plain.held[slot])))
    beginning = set(plain.held[slot][:start])
    assert cells.num_held_by(some, (slot, start)) == len(plain.used_by(some) | beginning)
    elsewhere = plain.used_by(everyone - {slot})
    assert cells.is_shared(slot, start) == bool(set(plain.held[slot][start:]) & elsewhere)


def test_the_books_of_long_texts_are_short() -> None:
    cells = Cells(100_000, 2)
    for _ in range(1000):
        for slot in range(2):
            cells.extend(slot, 9)
            cells.cut(slot, cells.length(slot) - 8)
    assert cells.num_used == 2000
    assert [len(held) for held in cells._held] == [1, 1]
