"""Guesses from what was said before, and whether they pay."""

from hypothesis import given
from hypothesis import strategies as st

from server.engine.pace import Pace
from server.engine.sequence import Sequence
from server.engine.speculation import MOST_GUESSES, Lookup, Speculation
from server.engine.types import Request
from tests.server.engine.stepping import Engine


def sequence(tokens: list[int], **request: object) -> Sequence:
    made = Request(tokens=tokens, **request)  # type: ignore[arg-type]
    return Sequence(1, made, limit=1000, submitted_ns=0)


def drafts(speculation: Speculation, one: Sequence, room: int = 100) -> list[int]:
    return speculation.drafts([one], room).get(one.id, [])


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    assert Lookup().guess([1, 2, 3, 4, 5, 9, 1, 2, 3], 3) == [4, 5, 9]
    assert Lookup().guess([1, 2, 3, 4], 3) == []
    assert Lookup().guess([7, 2, 3, 4, 8, 2, 3], 8) == [4, 8, 2, 3]


def test_the_latest_occurrence_counts() -> None:
    assert Lookup().guess([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], 1) == [5]


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 60), st.integers(1, 9))
def test_reading_as_it_grows_guesses_as_reading_at_once(
    tokens: list[int], cut: int, most: int
) -> None:
    grown = Lookup()
    grown.guess(tokens[:cut], most)
    assert grown.guess(tokens, most) == Lookup().guess(tokens, most)
    guess = grown.guess(tokens, most)
    assert len(guess) <= most
    joined = ",".join(map(str, tokens))
    assert ",".join(map(str, guess)) in joined


def test_a_shifted_window_is_read_anew() -> None:
    lookup = Lookup()
    lookup.guess([1, 2, 3, 4, 5, 6, 1, 2, 3], 2)
    assert lookup.guess([7, 8, 1, 9, 7, 8, 1], 1) == [9]


def test_guesses_keep_to_the_batch_the_limit_and_the_window() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3]
    on = Speculation("on", Pace(64))
    assert len(drafts(on, sequence(text))) == MOST_GUESSES
    assert len(drafts(on, sequence(text), room=2)) == 2
    assert len(drafts(on, sequence(text, max_tokens=4))) == 3
    full = sequence(text)
    full.limit = len(text) + 2
    assert len(drafts(on, full)) == 1


def costs(pace: Pace, first: int, each: int) -> None:
    for rows in range(1, 20):
        pace.observe(rows, 0, first + each * (rows - 1))


def test_it_guesses_where_rows_are_cheap_and_stops_where_they_are_not() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3]
    cheap, dear = Pace(64), Pace(64)
    costs(cheap, 1000, 10)
    costs(dear, 1000, 900)
    assert drafts(Speculation("auto", cheap), sequence(text))
    assert not drafts(Speculation("auto", dear), sequence(text))


def test_a_size_that_was_never_measured_is_tried_once() -> None:
    text = [1, 2, 3, 4, 1, 2, 3]
    pace = Pace(64)
    auto = Speculation("auto", pace)
    assert not drafts(auto, sequence(text)), "nothing to compare with yet"
    pace.observe(1, 0, 1000)
    tried = drafts(auto, sequence(text))
    assert tried
    for rows in range(2, 2 + len(tried)):
        pace.observe(rows, 0, 1000 * rows)
    assert not drafts(auto, sequence(text))


def test_guesses_that_are_wrong_pause_for_a_while() -> None:
    on = Speculation("on", Pace(64))
    text = [1, 2, 3, 4, 5, 6, 1, 2, 3]
    one = sequence(text)
    for _ in range(12):
        drafts(on, one)
        on.observe(one, 3, 0)
    assert not drafts(on, one)
    one.tokens += [1, 2, 3, 4] * 20
    assert drafts(on, one)


def test_the_loop_says_the_same_with_and_without_and_counts_what_it_guessed() -> None:
    said, steps = {}, {}
    for mode in ("off", "on"):
        engine = Engine(context=400, parallel=2, speculate=mode)
        engine.submit(1, "⟦" + "tick tock " * 20 + "⟧", max_tokens=150)
        engine.submit(2, "⟦" + "ab" * 30 + "⟧")
        engine.drain()
        said[mode] = (engine.text[1], engine.text[2], engine.tokens[1])
        steps[mode] = engine.stats.num_steps
    assert 0 < engine.stats.accepted_tokens <= engine.stats.drafted_tokens
    assert steps["on"] < steps["off"]
    assert said["off"] == said["on"]
    assert said["on"][2] == 150
