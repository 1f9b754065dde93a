"""Text of a model can move no cursor and turn no direction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.safetext import cleaned


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "after"),
        ("\x9b2Jgone", "gone"),
        ("a\rb\r\nc", "a\nb\nc"),
        ("\u202egnp.exe", "gnp.exe"),
        ("bell\x07 null\x00", "bell null"),
        ("😀 größe שלום", "😀 größe שלום"),
    ],
)
def test_what_steers_is_taken_out(text: str, shown: str) -> None:
    assert cleaned(text) == shown


@given(st.lists(st.text()))
def test_pieces_cleaned_one_by_one_hold_no_control(pieces: list[str]) -> None:
    joined = "".join(cleaned(piece) for piece in pieces)
    assert not [c for c in joined if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    joined.encode()
