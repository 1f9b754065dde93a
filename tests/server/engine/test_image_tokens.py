"""How images stand among tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.image_tokens import (
    Span,
    image_spans,
    image_tokens,
    is_image,
    is_of,
    num_shared,
    text_tokens,
    whole_after,
    whole_before,
)
from server.engine.prefix import common_prefix
from server.engine.scheduler import shift_for
from server.engine.sequence import Sequence
from server.engine.types import Request

ONE, OTHER = image_tokens(b"one", 5, 5), image_tokens(b"other", 5, 5)
TEXT = [1, 2, 3]

images = st.builds(
    lambda content, rows, shared: image_tokens(content, rows, max(1, rows - shared)),
    st.binary(max_size=2),
    st.integers(1, 6),
    st.integers(0, 5),
)
prompts = st.lists(st.lists(st.integers(0, 2), max_size=4) | images, max_size=6)


def join(parts: list[list[int]]) -> list[int]:
    return [token for part in parts for token in part]


def test_the_same_image_has_the_same_tokens_and_another_one_none_of_them() -> None:
    assert image_tokens(b"one", 5, 5) == ONE
    assert not set(ONE) & set(OTHER)
    assert all(is_image(token) and token >= -(1 << 63) for token in ONE)
    assert is_of(ONE, b"one") and not is_of(ONE, b"other")


def test_rows_that_share_a_position_are_counted() -> None:
    assert num_shared(image_tokens(b"one", 5, 2)) == 3
    assert num_shared([*TEXT, *ONE]) == 0


@given(prompts)
def test_every_image_is_found(parts: list[list[int]]) -> None:
    tokens = join(parts)
    spans = image_spans(tokens)
    assert [tokens[start:stop] for start, stop in spans] == [p for p in parts if p and p[0] < 0]
    assert text_tokens(tokens) == [token for token in tokens if token >= 0]


@pytest.mark.parametrize("tokens", [ONE[:3], [*ONE[:3], 7], [*ONE, *ONE[:4], 7]])
def test_an_image_without_an_end_is_told(tokens: list[int]) -> None:
    with pytest.raises(ValueError, match="has no end"):
        image_spans(tokens)


def test_images_side_by_side_are_two() -> None:
    assert image_spans([*ONE, *ONE, 7]) == [Span(0, 5), Span(5, 10)]


@given(prompts, st.integers(0, 40))
def test_no_place_is_within_an_image(parts: list[list[int]], at: int) -> None:
    tokens = join(parts)
    at = min(at, len(tokens))
    inside = next((span for span in image_spans(tokens) if span.start < at < span.stop), None)
    assert whole_before(tokens, at) == (inside.start if inside else at)
    assert whole_after(tokens, at) == (inside.stop if inside else at)


@given(prompts, prompts, prompts, st.integers(0, 60))
def test_a_common_beginning_has_whole_images_only(
    same: list[list[int]], a: list[list[int]], b: list[list[int]], most: int
) -> None:
    left, right = join([*same, *a]), join([*same, *b])
    length = common_prefix(left, right, most)
    assert length <= most and left[:length] == right[:length]
    assert whole_before(left, length) == whole_before(right, length) == length
    assert length >= whole_before(left, min(len(join(same)), most))


@given(prompts, st.integers(-1, 50))
def test_a_shift_drops_whole_images(parts: list[list[int]], num_keep: int) -> None:
    tokens = [*join(parts), 1, 2]
    request = Request(tokens=tokens, num_keep=num_keep)
    sequence = Sequence(1, request, limit=len(tokens) - 1, submitted_ns=0)
    keep, discard = shift_for(sequence)
    assert discard >= 1 and 0 <= keep < keep + discard < len(tokens)
    assert whole_before(tokens, keep) == keep
    assert whole_after(tokens, keep + discard) == keep + discard
