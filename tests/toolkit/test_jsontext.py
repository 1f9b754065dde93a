"""JSON of others: what UTF-8 cannot hold costs one character, never the whole text."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.jsontext import decoded, encoded
from toolkit.safetext import well_formed

HALVES = st.text(st.sampled_from(["a", "\\", "u", "d", "8", '"', "\n", "\ud83d", "\ude00", "é"]))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00 \uD83D\uDE00"', "😀 😀"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (rb'"\\ud800 \\\ud800"', "\\ud800 \\\ufffd"),
        (rb'"\ud800\u0041\n"', "\ufffdA\n"),
        (b'"cut \xf0\x9f off"', "cut \ufffd off"),
    ],
)
def test_half_a_character_is_replaced(data: bytes, text: str) -> None:
    assert decoded(data) == text


@given(st.dictionaries(HALVES, st.lists(HALVES), max_size=3), st.booleans())
def test_what_python_wrote_is_read(value: dict[str, list[str]], is_ascii: bool) -> None:
    wanted = {well_formed(key): [well_formed(t) for t in value[key]] for key in value}
    assert decoded(json.dumps(value, ensure_ascii=is_ascii)) == wanted
    assert json.loads(encoded(value)) == wanted


def test_what_is_no_json_or_another_value_is_still_refused() -> None:
    for data in (b"<html>\xff</html>", rb'"\ud800', rb'{"a": "\ud800"} x', b""):
        with pytest.raises(msgspec.DecodeError):
            decoded(data)
    with pytest.raises(msgspec.ValidationError):
        decoded(rb'{"a": "\ud800"}', dict[str, int])
