"""Carries out in the backend's memory what the books of `Slots` decide: copies, parks, evicts."""

from server.engine.backend import Backend
from server.engine.image_tokens import whole_before
from server.engine.parking import Parked
from server.engine.slots import MAX_LOST_TOKENS, Placement, Slots
from server.engine.types import EngineCounts


class Mover:
    """Moves cells between slots, and between slots and host memory. Blocks while it copies."""

    def __init__(self, backend: Backend, slots: Slots, counts: EngineCounts) -> None:
        self._backend = backend
        self._slots = slots
        self._counts = counts
        # Split memory copies in the next decode: until then nothing can be restored safely.
        self.has_copied = False

    def place(self, placement: Placement) -> int:
        """Make a slot ready for a sequence; how many of its tokens the slot holds then."""
        target, source, keep = placement.slot, placement.source, placement.keep
        if placement.parked is not None:
            return self._unpark(target, placement.parked, keep)
        if source == target:
            self._park_if_worth(target, keep)
            return keep if self._backend.trim(target, keep) else 0
        self._bring_to_safety(target, source)
        if source is None:
            self._backend.trim(target, 0)
            return 0
        return keep if self._copy(source, target, keep) else 0

    def evict(self, num_cells: int) -> bool:
        """Take `num_cells` or more, as far as it has them, from the cached prefix that was used
        longest ago; False if there is none. What is parked goes as a whole."""
        slot = self._slots.least_recent()
        if slot is None:
            return False
        keep = max(0, len(slot.cached) - max(num_cells, MAX_LOST_TOKENS))
        keep = whole_before(slot.cached, keep)
        if self._slots.is_worth_parking(slot.id, 0):
            self._park_if_worth(slot.id, 0)
            keep = 0
        self._slots.cut(slot.id, keep if self._backend.trim(slot.id, keep) else 0)
        return True

    def vacate(self, slot: int) -> None:
        """Leave only what others may use in a slot that has lost its owner."""
        if not self._backend.trim(slot, len(self._slots[slot].cached)):
            self._slots.cut(slot, 0)

    def close_gaps(self) -> None:
        """Bring running sequences side by side, where the memory asks for it."""
        while (move := self._slots.next_move()) is not None:
            source, target = move
            self._bring_to_safety(target)
            sequence = self._slots.move_owner(source, target)
            if not self._copy(source, target, sequence.num_computed):
                sequence.num_computed = 0
            self._backend.trim(source, 0)

    def forget_idle(self) -> None:
        """Drop everything that is cached."""
        while (slot := self._slots.least_recent()) is not None:
            self._backend.trim(slot.id, 0)
            self._slots.cut(slot.id, 0)

    def _copy(self, source: int, target: int, length: int) -> bool:
        self.has_copied = self.has_copied or self._slots.cells is None
        return self._backend.fork(source, target, length)

    def _bring_to_safety(self, slot: int, source: int | None = None) -> None:
        """Keep what an idle slot has cached, before it is lost: in a slot whose prefix was used
        longer ago (not the `source` of what comes), or else in host memory."""
        spare = self._slots.spare_for(slot, source)
        self._park_if_worth(slot if spare is None else spare, 0)
        if spare is not None:
            is_copied = self._copy(slot, spare, len(self._slots[slot].cached))
            self._slots.move_cached(slot, spare)
            if not is_copied:
                self._slots.cut(spare, 0)

    def _park_if_worth(self, slot: int, keep: int) -> None:
        """Park what an idle slot has cached if much of it is lost when `keep` tokens stay."""
        if not self._slots.is_worth_parking(slot, keep):
            return
        state, held = self._backend.save(slot), self._slots[slot]
        if state is not None and self._slots.parking.add(Parked(held.cached, state, held.holder)):
            self._counts.num_parked += 1

    def _unpark(self, slot: int, parked: Parked, keep: int) -> int:
        """Bring a state back; how many tokens of it the slot holds then. It stays parked if
        much of it is not needed now, or if it could not be brought back."""
        parking, length = self._slots.parking, len(parked.tokens)
        parking.take(parked)
        self._park_if_worth(slot, 0)
        is_back = self._has_room_for(slot, length) and self._backend.restore(slot, parked.state)
        self._counts.num_restored += is_back
        if not is_back or keep < length - MAX_LOST_TOKENS:
            parking.add(parked)
        return keep if self._backend.trim(slot, keep if is_back else 0) and is_back else 0

    def _has_room_for(self, slot: int, num_cells: int) -> bool:
        """Evict until a slot can take so many cells; nothing is lost if it cannot."""
        cells = self._slots.cells
        if cells is None:
            return True
        if not self._slots.could_hold(num_cells):
            return False
        self._backend.trim(slot, 0)
        self._slots.cut(slot, 0)
        while cells.num_free < num_cells and self.evict(num_cells - cells.num_free):
            pass
        return cells.num_free >= num_cells
