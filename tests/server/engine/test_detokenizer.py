"""Characters and stop strings over token borders."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.detokenizer import Detokenizer


def feed(detokenizer: Detokenizer, pieces: list[bytes]) -> tuple[str, str | None]:
    """The whole text that comes out, and the stop string that ended it."""
    shown = ""
    for piece in pieces:
        text = detokenizer.feed(piece)
        shown += text.text
        if text.stop is not None:
            return shown, text.stop
    rest = detokenizer.flush()
    return shown + rest.text, rest.stop


def cut(raw: bytes, borders: list[int]) -> list[bytes]:
    marks = sorted({b % (len(raw) + 1) for b in borders} | {0, len(raw)})
    return [raw[a:b] for a, b in pairwise(marks)]


@given(st.text(), st.lists(st.integers(0, 1000)))
def test_any_cut_gives_the_text_back(text: str, borders: list[int]) -> None:
    text = text.encode(errors="replace").decode()
    assert feed(Detokenizer(), cut(text.encode(), borders)) == (text, None)


stops = st.lists(st.text(alphabet="ab<|é", min_size=1, max_size=4), max_size=3)


@given(st.text(alphabet="ab<|é"), stops, st.lists(st.integers(0, 200)))
def test_any_cut_stops_where_an_uncut_text_would(
    text: str, stop: list[str], borders: list[int]
) -> None:
    found = [(text.find(s), s) for s in stop if s in text]
    shown, stopped = feed(Detokenizer(tuple(stop)), cut(text.encode(), borders))
    if not found:
        assert (shown, stopped) == (text, None)
    else:
        # A shorter match that is complete earlier may win over one that began before it.
        assert stopped in stop
        assert text.startswith(shown + stopped)
        assert all(s not in shown for s in stop)


@given(st.text(alphabet="ab<|é"), stops)
def test_only_the_longest_beginning_of_a_stop_string_is_held_back(
    text: str, stop: list[str]
) -> None:
    said = Detokenizer(tuple(stop)).feed(text.encode())
    if said.stop is None:
        starts = [n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])]
        assert said.text == text[: len(text) - max(starts, default=0)]


@given(st.binary(), st.lists(st.integers(0, 1000)))
def test_bytes_that_are_no_text_become_replacement_characters(
    raw: bytes, borders: list[int]
) -> None:
    assert feed(Detokenizer(), cut(raw, borders)) == (raw.decode(errors="replace"), None)


def test_half_an_emoji_is_not_shown() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed("🎉".encode()[:2]).text == ""
    assert detokenizer.feed("🎉".encode()[2:]).text == "🎉"


def test_a_possible_stop_is_held_back_and_released() -> None:
    detokenizer = Detokenizer(("</end>",))
    assert detokenizer.feed(b"say </e").text == "say "
    assert detokenizer.feed(b"lse").text == "</else"


def test_held_text_comes_out_at_the_end() -> None:
    detokenizer = Detokenizer(("stop",))
    assert detokenizer.feed(b"a sto").text == "a "
    assert detokenizer.flush().text == "sto"


@pytest.mark.parametrize("stop", [("b", "abc"), ("abc", "b")])
def test_the_match_that_begins_first_wins(stop: tuple[str, ...]) -> None:
    text = Detokenizer(stop).feed(b"xabcx")
    assert (text.text, text.stop) == ("x", "abc")


def test_an_empty_stop_string_stops_nothing() -> None:
    assert feed(Detokenizer(("",)), [b"abc"]) == ("abc", None)
