"""Carries out in the backend's memory what the books of `Slots` decide: copies, parks, evicts."""

from server.engine.backend import Backend
from server.engine.parking import Parked
from server.engine.slots import Placement, Slots


class Mover:
    """Moves cells between slots, and between slots and host memory. Blocks while it copies."""

    def __init__(self, backend: Backend, slots: Slots) -> None:
        self._backend = backend
        self._slots = slots
        self.num_parked = 0
        self.num_restored = 0

    def place(self, placement: Placement) -> int:
        """Make a slot ready for a sequence; how many of its tokens the slot holds then."""
        target, source, keep = placement.slot, placement.source, placement.keep
        if source == target:
            self._park_if_worth(target, keep)
        else:
            self._bring_to_safety(target, source)
        if isinstance(source, Parked):
            keep = keep if self._restore(target, source) else 0
        elif source is not None and source != target:
            self._backend.fork(source, target, keep)
        return keep if self._backend.trim(target, keep) else 0

    def evict(self) -> bool:
        """Drop the cached prefix that was used longest ago; False if there is none."""
        slot = self._slots.least_recent()
        if slot is None:
            return False
        self._park_if_worth(slot.id, 0)
        self._backend.trim(slot.id, 0)
        self._slots.forget(slot.id)
        return True

    def vacate(self, slot: int) -> None:
        """Leave only what others may use in a slot that has lost its owner."""
        if not self._backend.trim(slot, len(self._slots[slot].cached)):
            self._slots.forget(slot)

    def close_gaps(self) -> None:
        """Bring running sequences side by side, where the memory asks for it."""
        while (move := self._slots.next_move()) is not None:
            source, target = move
            self._bring_to_safety(target)
            sequence = self._slots.move_owner(source, target)
            if not self._copy(source, target, sequence.num_computed):
                sequence.num_computed = 0
            self._backend.trim(source, 0)

    def _copy(self, source: int, target: int, length: int) -> bool:
        self._backend.fork(source, target, length)
        return self._backend.trim(target, length)

    def _bring_to_safety(self, slot: int, source: int | Parked | None = None) -> None:
        """Keep what an idle slot has cached, before it is lost: in a slot whose prefix was used
        longer ago (not the `source` of what comes), or else in host memory."""
        if isinstance(source, Parked):
            # What is restored cannot be put where a copy is still to be made from.
            self._park_if_worth(slot, 0)
            return
        spare = self._slots.spare_for(slot, source)
        self._park_if_worth(slot if spare is None else spare, 0)
        if spare is not None:
            is_copied = self._copy(slot, spare, len(self._slots[slot].cached))
            self._slots.move_cached(slot, spare)
            if not is_copied:
                self._slots.forget(spare)

    def _park_if_worth(self, slot: int, keep: int) -> None:
        """Park what an idle slot has cached if much of it is lost when `keep` tokens stay."""
        if not self._slots.is_worth_parking(slot, keep):
            return
        state = self._backend.save(slot)
        if state is not None and self._slots.parking.add(Parked(self._slots[slot].cached, state)):
            self.num_parked += 1

    def _restore(self, slot: int, parked: Parked) -> bool:
        self._slots.parking.remove(parked)
        cells = self._slots.cells
        while cells is not None and cells.num_free < len(parked.tokens):
            if not self.evict():
                return False
        if not self._backend.restore(slot, parked.state):
            return False
        self.num_restored += 1
        return True
