"""Where tokens stand when rows of images share positions."""

from hypothesis import given
from hypothesis import strategies as st

from server.engine.image_tokens import image_tokens, num_shared, whole_before
from server.engine.positions import Positions

SIZES = ((6, 2), (4, 4), (9, 3))  # rows, and how many take a position
IMAGES = [image_tokens(bytes([rows]), rows, positions) for rows, positions in SIZES]
KINDS = ("text", "image", "trim", "copy", "park", "unpark")

actions = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)))


@given(actions)
def test_positions_are_those_of_the_tokens_that_a_slot_holds(
    actions: list[tuple[str, int]],
) -> None:
    positions = Positions(2)
    held: list[list[int]] = [[], []]
    parked: tuple[list[int], tuple[tuple[int, int], ...]] = ([], ())
    for kind, number in actions:
        slot, other = number % 2, 1 - number % 2
        if kind == "text":
            held[slot] += range(number)
        elif kind == "image":
            image = IMAGES[number % 3]
            positions.add(slot, len(held[slot]), image)
            held[slot] += image
        elif kind == "trim":
            length = whole_before(held[slot], max(0, len(held[slot]) - number))
            positions.trim(slot, length)
            del held[slot][length:]
        elif kind == "copy":
            positions.copy(slot, other)
            held[other] = list(held[slot])
        elif kind == "park":
            parked = (list(held[slot]), positions.save(slot))
        else:
            held[slot] = list(parked[0])
            positions.restore(slot, parked[1])
        for each, tokens in enumerate(held):
            for index in range(len(tokens) + 1):
                if whole_before(tokens, index) == index:
                    assert positions.of(each, index) == index - num_shared(tokens[:index])
