"""Where prompts go and which prefixes they start with."""

from collections.abc import Sequence as Tokens
from itertools import chain, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.cells import Cells
from server.engine.image_tokens import image_tokens, whole_before
from server.engine.parking import Parked, Parking
from server.engine.prefix import Known, TokenArray, common_prefix, longest_prefix, token_array
from server.engine.sequence import Sequence
from server.engine.slots import MAX_LOST_TOKENS, MIN_SHARED_TOKENS, Placement, Slots
from server.engine.types import Request

HEAD = list(range(100, 100 + MIN_SHARED_TOKENS))


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


def plainly_common(a: Tokens[int], b: Tokens[int], most: int) -> int:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return whole_before(a, min(len(list(same)), most))


@given(
    st.lists(st.integers(0, 3)),
    st.lists(st.integers(0, 3)),
    st.integers(0, 3000),
    st.integers(0, 3200),
)
def test_common_prefix_is_what_a_plain_loop_counts(
    a: list[int], b: list[int], same: int, most: int
) -> None:
    a, b = [1] * same + a, [1] * same + b
    assert common_prefix(a, b, most) == plainly_common(a, b, most)
    assert common_prefix(token_array(a), token_array(b), most) == plainly_common(a, b, most)


PICTURES = [image_tokens(bytes([number]), 3, 3) for number in range(2)]
PROMPTS = st.lists(
    st.one_of(st.integers(0, 1).map(lambda token: [token]), st.sampled_from(PICTURES)), max_size=8
).map(lambda parts: token_array(chain.from_iterable(parts)))


@given(PROMPTS, st.lists(st.tuples(PROMPTS, st.integers(0, 24))), st.integers(0, 24), st.booleans())
def test_the_longest_prefix_is_that_of_a_plain_search(
    prompt: TokenArray, others: list[tuple[TokenArray, int]], most: int, whole: bool
) -> None:
    known = [
        Known(number, own, whole_before(own, min(cut, len(own))))
        for number, (own, cut) in enumerate(others)
    ]
    lengths = [plainly_common(own, prompt, min(most, usable)) for _, own, usable in known]
    if whole:
        lengths = [n if n == k.num_usable else 0 for n, k in zip(lengths, known, strict=True)]
    longest = max(lengths, default=0)
    owner = lengths.index(longest) if longest else None
    assert longest_prefix(prompt, most, known, whole=whole) == (owner, longest)


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
    occupy(slots, [*HEAD, 3, 4])
    assert slots.place([*HEAD, 3, 9]) == Placement(slot=1, source=0, keep=len(HEAD) + 1)


def test_a_beginning_as_short_as_a_model_s_first_token_is_not_copied() -> None:
    slots = Slots(3)
    occupy(slots, [1, 2, 3, 4])
    assert slots.place([1, 2, 9]) == Placement(slot=1)
    slots.release(occupy(slots, [1, 7] * 100))
    # In the slot that it gets anyway, what is the same stays.
    assert slots.place([1, 8]) == Placement(slot=1, source=1, keep=1)


def test_what_cannot_be_cut_is_only_gone_on_from_its_end() -> None:
    slots = Slots(2, parking=Parking(10_000), can_branch=False)
    slots.release(occupy(slots, [*HEAD, 1, 2]))
    assert slots.place([*HEAD, 1, 2, 3]) == Placement(slot=0, source=0, keep=len(HEAD) + 2)
    assert slots.place([*HEAD, 1, 9]) == Placement(slot=1)
    reading = occupy(slots, [*HEAD] * 20)
    reading.num_computed = 3
    assert slots.coming_prefix([*HEAD] * 20) == (None, 0)
    slots.parking.add(parked([5] * 200))
    assert slots.place([5] * 190 + [6]) == Placement(slot=0)
    assert slots.place([5] * 200 + [6]).keep == 200  # type: ignore[union-attr]


def test_only_what_a_running_sequence_has_computed_counts() -> None:
    slots = Slots(2)
    occupy(slots, [*HEAD, 3, 4]).num_computed = len(HEAD)
    assert slots.place([*HEAD, 3, 9]) == Placement(slot=1, source=0, keep=len(HEAD))


def test_a_long_idle_conversation_is_forked_and_stays_whole() -> None:
    slots = Slots(2)
    long = HEAD + [7] * (MAX_LOST_TOKENS + 1)
    slots.release(occupy(slots, long))
    assert slots.place([*HEAD, 3]) == Placement(slot=1, source=0, keep=len(HEAD))


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
    assert not slots[0].cached


def test_integrity_names_the_slot_that_is_wrong() -> None:
    slots = Slots(1)
    occupy(slots, [1, 2]).num_computed = 5
    with pytest.raises(AssertionError, match="slot 0"):
        slots.check_integrity()


def test_what_is_being_read_is_coming() -> None:
    slots = Slots(2)
    owner = occupy(slots, [1, 2, 3, 4, 5])
    owner.num_computed = 2
    assert slots.coming_prefix([1, 2, 3, 4, 9]) == (owner, 4)
    assert slots.coming_prefix([1, 2, 3]) == (owner, 2), "the last token is computed anyway"
    owner.num_computed = 4  # generating: nothing comes but one token at a time
    assert slots.coming_prefix([1, 2, 3, 4, 9]) == (None, 0)


def parked(tokens: list[int]) -> Parked:
    return Parked(tokens, bytes(len(tokens)))


def test_a_parked_conversation_comes_back_when_it_is_much_longer() -> None:
    slots = Slots(2, parking=Parking(10_000))
    long = parked([1, 2] + [7] * (MAX_LOST_TOKENS + 2))
    assert slots.parking.add(long)
    slots.release(occupy(slots, [1, 2, 3]))
    placement = slots.place([*long.tokens, 9])
    assert placement == Placement(slot=1, keep=len(long.tokens), parked=long)
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
    occupy(slots, [*HEAD, 4])
    fork = occupy(slots, [*HEAD, 9, 9])
    assert slots.cells.num_used == len(HEAD) + 1 + 2
    assert slots.cells.is_shared(0, 0) and not slots.cells.is_shared(1, len(HEAD))
    assert slots.cells.num_held_by([1]) == len(HEAD) + 2
    assert slots.cells.num_held_by([1], (0, len(HEAD) + 1)) == len(HEAD) + 3
    slots.release(fork)
    slots.check_integrity()
    slots.cut(1, 0)
    assert slots.cells.num_used == len(HEAD) + 1
    assert not slots.cells.is_shared(0, 0)
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
    assert parking.longest([0] * 100, 99) == (None, 0)
    assert parking.longest([1] * 100, 99) == (states[1], 99)
    assert parking.longest([2] * 100, 99) == (states[2], 99)
    assert parking.num_bytes == 200
    assert not parking.add(parked([9] * 251))
    parking.check_integrity()


def test_among_equal_states_the_one_that_loses_least_is_taken() -> None:
    parking = Parking(10_000)
    long, short = parked([1] * 100 + [2] * 300), parked([1] * 100 + [3])
    parking.add(long)
    parking.add(short)
    assert parking.longest([1] * 200, 199) == (short, 100)
    assert not parking.add(parked([1] * 100)), "it is there already, and more"


def test_parking_keeps_the_longest_of_one_conversation() -> None:
    parking = Parking(1000)
    parking.add(parked([1, 2, 3]))
    parking.add(parked([1, 2, 3, 4]))
    parking.add(parked([2]))
    assert (parking.num_parked, parking.num_bytes) == (2, 5)
    parking.take(parking.longest([1, 2, 3], 3)[0])  # type: ignore[arg-type]
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
    assert (list(slots[0].cached), list(slots[1].cached)) == ([1] * 100, [])
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
