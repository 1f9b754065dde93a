"""What is kept of images between their tokens and the model's look at them."""

import threading

import numpy as np
import pytest

from server.engine.backend import RequestError
from server.engine.looking import Looking, Picture, Seen
from server.engine.pixels import Pixels
from tests.support.tiny_vision import picture

FILES = [picture(number, size=(8, 8)) for number in range(8)]
BEGIN, END = 11, 12


class Part:
    """One part of an image; it must be closed once."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = self.num_positions = num_rows
        self.num_closed = 0

    def close(self) -> None:
        self.num_closed += 1


class TwoParts:
    """Eyes that cut each image in two, of two rows and three, and count what they do."""

    def __init__(self) -> None:
        self.made: list[Part] = []
        self.num_looks = 0
        self.is_blind = False

    def prepare(self, pixels: Pixels) -> list[Picture | list[int]]:
        parts = [Part(2), Part(3)]
        self.made += parts
        return [[BEGIN], parts[0], parts[1], [END]]

    def look(self, picture: Picture) -> Seen:
        self.num_looks += 1
        if self.is_blind:
            raise RequestError("the model could not look at an image")
        rows = np.zeros((picture.num_rows, 4), dtype=np.float32)
        places = np.arange(picture.num_rows, dtype=np.int32)[None]
        return Seen(rows, places, np.ones_like(places), is_causal=True)


def parts_of(tokens: list[int]) -> tuple[list[int], list[int]]:
    assert (tokens[0], tokens[-1], len(tokens)) == (BEGIN, END, 7)
    return tokens[1:3], tokens[3:6]


def test_each_part_is_looked_at_once_and_kept() -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    first, second = parts_of(looking.tokenize(FILES[0]))
    for part in (second, first):
        assert not looking.has_seen(part)
        looking.look(part, [FILES[1], FILES[0]])
        assert looking.has_seen(part)
        assert len(looking.seen(part).rows) == len(part)
    assert eyes.num_looks == 2
    assert len(eyes.made) == 2, "its pixels were still there"
    assert [part.num_closed for part in eyes.made] == [1, 1]


def test_pixels_that_are_gone_are_read_again() -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    first, second = parts_of(looking.tokenize(FILES[0]))
    for data in FILES[1:]:
        looking.tokenize(data)
    assert [part.num_closed for part in eyes.made[:2]] == [1, 1]
    looking.look(second, FILES)
    looking.look(first, FILES)
    assert len(eyes.made) == 2 * len(FILES) + 2, "both parts were there again"


def test_the_same_file_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    tokens = looking.tokenize(FILES[0])
    tokens_again = looking.tokenize(FILES[0])
    assert tokens == tokens_again and tokens is not tokens_again
    assert len(eyes.made) == 2
    # Its tokens are known for longer than its pixels.
    for data in FILES[1:]:
        looking.tokenize(data)
    assert looking.tokenize(FILES[0]) == tokens
    assert len(eyes.made) == 2 * len(FILES)
    monkeypatch.setattr("server.engine.looking._MOST_KNOWN", 1)
    looking.look(parts_of(tokens)[0], FILES)
    looking.look(parts_of(tokens)[1], FILES)
    assert len(eyes.made) == 2 * len(FILES) + 2


def test_an_image_that_becomes_ready_again_frees_what_was_left_of_it() -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    first, second = parts_of(looking.tokenize(FILES[0]))
    looking.look(first, FILES)
    looking.look(first, FILES)
    assert [part.num_closed for part in eyes.made] == [1, 1, 1, 0]
    looking.look(second, FILES)
    assert [part.num_closed for part in eyes.made] == [1, 1, 1, 1]


def test_what_was_seen_makes_room_for_the_last() -> None:
    looking = Looking(TwoParts(), most_seen_bytes=100)
    parts = [part for data in FILES for part in parts_of(looking.tokenize(data))]
    for part in parts:
        looking.look(part, FILES)
        assert looking.has_seen(part)
    assert [looking.has_seen(part) for part in parts[-3:]] == [False, True, True]
    assert looking.seen(parts[-2]).rows.nbytes + looking.seen(parts[-1]).rows.nbytes <= 100
    # Larger than all the room, and kept all the same.
    narrow = Looking(TwoParts(), most_seen_bytes=1)
    part, _ = parts_of(narrow.tokenize(FILES[0]))
    narrow.look(part, FILES)
    assert narrow.has_seen(part)


def test_an_image_that_did_not_come_is_missed() -> None:
    looking = Looking(TwoParts())
    part, _ = parts_of(looking.tokenize(FILES[0]))
    with pytest.raises(RequestError, match="did not come with it"):
        looking.look(part, FILES[1:])
    with pytest.raises(RequestError, match="did not come with it"):
        looking.look(part, [])


def test_an_image_of_another_size_than_its_tokens_say_is_told() -> None:
    looking = Looking(TwoParts())
    part, _ = parts_of(looking.tokenize(FILES[0]))
    with pytest.raises(RequestError, match="another than the one"):
        looking.look(part[:1], FILES)


def test_what_fails_is_freed() -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    part, _ = parts_of(looking.tokenize(FILES[0]))
    eyes.is_blind = True
    with pytest.raises(RequestError, match="could not look"):
        looking.look(part, FILES)
    assert eyes.made[0].num_closed == 1 and not looking.has_seen(part)


def test_files_are_read_while_others_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    eyes = TwoParts()
    looking = Looking(eyes)
    parts = [part for data in FILES for part in parts_of(looking.tokenize(data))]
    monkeypatch.setattr("server.engine.looking._MOST_KNOWN", 0)
    reader = threading.Thread(
        target=lambda: [looking.tokenize(data) for _ in range(20) for data in FILES]
    )
    reader.start()
    for _ in range(20):
        for part in parts:
            looking.look(part, FILES)
    reader.join()
    assert all(part.num_closed <= 1 for part in eyes.made)
    still_there = sum(part.num_closed == 0 for part in eyes.made)
    assert still_there <= 2 * 4
