"""Where prompts go and which prefixes they start with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.cells import Cells
from server.engine.parking import Parked, Parking
from server.engine.prefix import common_prefix
from server.engine.sequence import Sequence
from server.engine.slots import MAX_LOST_TOKENS, Placement, Slots
from server.engine.types import Request


def sequence(tokens: list[int], computed: int | None = None) -> Sequence:
    made = Sequence(id(tokens), Request(tokens=tokens), limit=10_000, submitted_ns=0)
    made.num_computed = len(tokens) if computed is None else computed
    return made


def occupy(slots: Slots, tokens: list[int]) -> Sequence:
    """Place a prompt and pretend that all of it was computed."""
    placement = slots.place(tokens)
    assert placement is not None
    owner = sequence(tokens)
    slots.take(placement, placement.keep, owner)
    compute(slots, owner, len(tokens))
    return owner


def compute(slots: Slots, owner: Sequence, length: int) -> None:
    if slots.cells is not None:
        slots.cells.extend(owner.slot, length - owner.num_computed)
    owner.num_computed = length


@given(
    st.lists(st.integers(0, 3)),
    st.lists(st.integers(0, 3)),
    st.integers(0, 400),
    st.integers(0, 500),
)
def test_common_prefix_is_what_a_plain_loop_counts(
    a: list[int], b: list[int], same: int, most: int
) -> None:
    a, b = [1] * same + a, [1] * same + b
    plain = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        plain += 1
    assert common_prefix(a, b, most) == min(plain, most)


def test_unrelated_prompts_take_the_lowest_slots_in_turn() -> None:
    slots = Slots(3)
    assert [occupy(slots, [n, n]).slot for n in (1, 2, 3)] == [0, 1, 2]
    assert slots.place([4]) is None


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    slots = Slots(2)
    first = occupy(slots, [1, 2, 3])
    slots.release(first)
    slots.release(occupy(slots, [9, 9, 9]))
    assert slots.place([1, 2, 3, 4, 5]) == Placement(slot=0, source=0, keep=3)


def test_the_last_token_of_a_known_prompt_is_computed_again() -> None:
    slots = Slots(1)
    slots.release(occupy(slots, [1, 2, 3]))
    assert slots.place([1, 2, 3]) == Placement(slot=0, source=0, keep=2)


def test_a_running_prefix_is_copied() -> None:
    slots = Slots(2)
    occupy(slots, [1, 2, 3, 4])
    assert slots.place([1, 2, 3, 9]) == Placement(slot=1, source=0, keep=3)


def test_only_what_a_running_sequence_has_computed_counts() -> None:
    slots = Slots(2)
    occupy(slots, [1, 2, 3, 4]).num_computed = 2
    assert slots.place([1, 2, 3, 9]) == Placement(slot=1, source=0, keep=2)


def test_a_long_idle_conversation_is_forked_and_stays_whole() -> None:
    slots = Slots(2)
    long = [1, 2] + [7] * (MAX_LOST_TOKENS + 1)
    slots.release(occupy(slots, long))
    assert slots.place([1, 2, 3]) == Placement(slot=1, source=0, keep=2)


def test_a_long_idle_conversation_is_taken_over_when_nothing_else_is_free() -> None:
    slots = Slots(1)
    slots.release(occupy(slots, [1, 2] + [7] * (MAX_LOST_TOKENS + 1)))
    assert slots.place([1, 2, 3]) == Placement(slot=0, source=0, keep=2)


def test_the_least_recently_used_prefix_goes_first() -> None:
    slots = Slots(2)
    old, new = occupy(slots, [1, 1]), occupy(slots, [2, 2])
    slots.release(old)
    slots.release(new)
    placement = slots.place([5, 5])
    assert placement is not None
    assert placement.slot == 0


def test_after_a_shift_nothing_of_a_sequence_is_shared() -> None:
    slots = Slots(2)
    owner = occupy(slots, [1, 2, 3, 4])
    owner.drop(keep=1, discard=1)
    owner.num_computed -= 1
    assert slots.place([1, 2, 3, 4, 5]) == Placement(slot=1)
    slots.release(owner)
    assert slots[0].cached == []


def test_integrity_names_the_slot_that_is_wrong() -> None:
    slots = Slots(1)
    occupy(slots, [1, 2]).num_computed = 5
    with pytest.raises(AssertionError, match="slot 0"):
        slots.check_integrity()


def test_what_is_being_read_is_coming() -> None:
    slots = Slots(2)
    owner = occupy(slots, [1, 2, 3, 4, 5])
    owner.num_computed = 2
    assert slots.coming_prefix([1, 2, 3, 4, 9]) == 4
    assert slots.coming_prefix([1, 2, 3]) == 2, "the last token is computed anyway"
    owner.num_computed = 4  # generating: nothing comes but one token at a time
    assert slots.coming_prefix([1, 2, 3, 4, 9]) == 0


def parked(tokens: list[int]) -> Parked:
    return Parked(tokens, bytes(len(tokens)))


def test_a_parked_conversation_comes_back_when_it_is_much_longer() -> None:
    slots = Slots(2, parking=Parking(10_000))
    long = parked([1, 2] + [7] * (MAX_LOST_TOKENS + 2))
    assert slots.parking.add(long)
    slots.release(occupy(slots, [1, 2, 3]))
    placement = slots.place([*long.tokens, 9])
    assert placement == Placement(slot=1, source=long, keep=len(long.tokens))
    assert slots.place([1, 2, 7, 7, 9]) == Placement(slot=0, source=0, keep=2)


def test_only_what_nothing_else_holds_is_worth_parking() -> None:
    slots = Slots(3, parking=Parking(10_000))
    long = [5] * 200
    first = occupy(slots, long)
    slots.release(first)
    assert slots.is_worth_parking(0, 0)
    assert not slots.is_worth_parking(0, 190), "hardly anything is lost"
    occupy(slots, [*long, 1])  # its slot took the prefix over
    assert not slots.is_worth_parking(1, 0)
    assert not Slots(1).is_worth_parking(0, 0)


def test_a_fork_shares_cells_until_the_last_holder_lets_go() -> None:
    slots = Slots(3, cells=Cells(100, 3))
    assert slots.cells is not None
    occupy(slots, [1, 2, 3, 4])
    fork = occupy(slots, [1, 2, 3, 9, 9])
    assert slots.cells.num_used == 4 + 2
    assert slots.cells.is_shared(0) and slots.cells.is_shared(1)
    assert slots.cells.num_held_by([1]) == 5
    assert slots.cells.num_held_by([1], (0, 4)) == 6
    slots.release(fork)
    slots.check_integrity()
    slots.forget(1)
    assert slots.cells.num_used == 4
    assert not slots.cells.is_shared(0)
    slots.check_integrity()


def test_cells_beyond_the_total_are_found() -> None:
    slots = Slots(1, cells=Cells(3, 1))
    occupy(slots, [1, 2, 3, 4])
    with pytest.raises(AssertionError, match="4 cells used of 3"):
        slots.check_integrity()


def test_parking_keeps_to_its_limit_and_drops_the_oldest() -> None:
    parking = Parking(250)
    states = [parked([number] * 100) for number in range(3)]
    assert all(parking.add(state) for state in states)
    assert parking.longest([0] * 100, 99) == (states[1], 0)
    assert parking.longest([2] * 100, 99) == (states[2], 99)
    assert parking.num_bytes == 200
    assert not parking.add(parked([9] * 251))
    parking.check_integrity()


def test_parking_keeps_the_longest_of_one_conversation() -> None:
    parking = Parking(1000)
    parking.add(parked([1, 2, 3]))
    parking.add(parked([1, 2, 3, 4]))
    parking.add(parked([2]))
    assert (len(parking), parking.num_bytes) == (2, 5)
    parking.remove(parking.longest([1, 2, 3], 3)[0])  # type: ignore[arg-type]
    assert parking.longest([1, 2, 3], 3)[1] == 0


def test_who_comes_goes_beside_who_runs() -> None:
    slots = Slots(4)
    owners = [occupy(slots, [number] * 100) for number in range(4)]
    for owner in owners:
        slots.release(owner)
    occupy(slots, [2] * 100)  # goes on in slot 2
    placement = slots.place([9, 9])
    assert placement is not None and placement.slot == 1
    # Slot 0 was used longer ago, so what slot 1 holds can be brought there.
    assert slots.spare_for(1) == 0
    assert slots.spare_for(1, source=0) is None
    slots.move_cached(1, 0)
    assert (slots[0].cached, slots[1].cached) == ([1] * 100, [])
    assert slots.spare_for(3) == 1


def test_gaps_between_running_sequences_are_closed() -> None:
    slots = Slots(6)
    owners = [occupy(slots, [number]) for number in range(5)]
    for number in (1, 2):
        slots.release(owners[number])
    assert slots.next_move() == (0, 2)
    assert slots.move_owner(0, 2) is owners[0]
    assert owners[0].slot == 2
    slots.check_integrity()
    assert slots.next_move() is None
    with pytest.raises(AssertionError, match="nobody can move"):
        slots.move_owner(0, 1)


def test_shared_memory_knows_no_gaps() -> None:
    slots = Slots(3, cells=Cells(100, 3))
    middle = [occupy(slots, [number]) for number in range(3)][1]
    slots.release(middle)
    assert slots.next_move() is None
