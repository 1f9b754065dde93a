"""Where prompts go and which prefixes they start with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.sequence import Sequence
from server.engine.slots import MAX_LOST_TOKENS, Placement, Slots, common_prefix
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
    slots.take(placement, owner)
    owner.num_computed = len(tokens)
    return owner


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)), st.integers(0, 400))
def test_common_prefix_is_what_a_plain_loop_counts(a: list[int], b: list[int], same: int) -> None:
    a, b = [1] * same + a, [1] * same + b
    plain = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        plain += 1
    assert common_prefix(a, b) == plain


def test_unrelated_prompts_take_the_lowest_slots_in_turn() -> None:
    slots = Slots(3)
    assert [occupy(slots, [n, n]).slot for n in (1, 2, 3)] == [0, 1, 2]
    assert slots.place([4]) is None
    assert slots.num_free == 0


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
    owner.shift(keep=1, discard=1)
    assert slots.place([1, 2, 3, 4, 5]) == Placement(slot=1, source=-1, keep=0)
    slots.release(owner)
    assert slots[0].cached == []


def test_integrity_names_the_slot_that_is_wrong() -> None:
    slots = Slots(1)
    occupy(slots, [1, 2]).num_computed = 5
    with pytest.raises(AssertionError, match="slot 0"):
        slots.check_integrity()
