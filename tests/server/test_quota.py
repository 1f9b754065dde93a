"""The arithmetic of limits: never more than the limit in any minute, and nobody starves."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import quota
from server.grants import Limits
from server.quota import WINDOW_S, Quota, Window

# (time since the one before, tokens estimated, tokens used, how long it runs)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 90, allow_nan=False),
        st.integers(0, 200),
        st.integers(0, 200),
        st.floats(0, 200, allow_nan=False),
    ),
    max_size=60,
)
LIMIT = st.integers(1, 150)


def in_any_minute(amounts: Sequence[tuple[float, int]]) -> int:
    """The most that lies within less than sixty seconds."""
    return max(
        (
            sum(amount for at, amount in amounts if begin <= at < begin + WINDOW_S)
            for begin, _ in amounts
        ),
        default=0,
    )


@given(steps=STEPS, limit=LIMIT)
def test_never_more_requests_than_the_limit(
    steps: list[tuple[float, int, int, float]], limit: int
) -> None:
    key, limits, now = Quota(), Limits(requests_per_minute=limit), 0.0
    admitted = []
    for gap, tokens, _, _ in steps:
        now += gap
        if key.refusal(limits, tokens, now) is None:
            key.begin(limits, tokens, now)
            admitted.append((now, 1))
    assert in_any_minute(admitted) <= limit


@given(steps=STEPS, limit=LIMIT)
def test_never_more_tokens_than_the_limit_where_the_estimate_was_right(
    steps: list[tuple[float, int, int, float]], limit: int
) -> None:
    """What is used counts at its end, and what is held back until then."""
    key, limits, now = Quota(), Limits(tokens_per_minute=limit), 0.0
    running: list[tuple[float, int]] = []
    used = []
    for gap, tokens, _, lasts_s in steps:
        now += gap
        for end, amount in sorted(each for each in running if each[0] <= now):
            key.end(amount, amount, end)
            used.append((end, amount))
        running = [each for each in running if each[0] > now]
        if key.refusal(limits, tokens, now) is None:
            running.append((now + lasts_s, key.begin(limits, tokens, now)))
    assert in_any_minute(used) <= limit
    assert sum(amount for _, amount in running) <= limit


@given(steps=STEPS, requests=LIMIT, tokens=LIMIT, parallel=st.integers(1, 3))
def test_who_waits_as_told_gets_in(
    steps: list[tuple[float, int, int, float]], requests: int, tokens: int, parallel: int
) -> None:
    """However much was used before, and however large the request: with nothing running it
    begins after so long, and after less it may not."""
    limits = Limits(requests_per_minute=requests, tokens_per_minute=tokens, parallel=parallel)
    key, now = Quota(), 0.0
    for gap, estimated, used, _ in steps:
        now += gap
        tries = 0
        while refusal := key.refusal(limits, estimated, now):
            assert 0 < refusal.wait_s <= WINDOW_S + 1
            now += refusal.wait_s
            tries += 1
            assert tries <= 2  # for the one limit, then for the other
        key.end(key.begin(limits, estimated, now), used, now)


@given(
    amounts=st.lists(st.tuples(st.floats(0, 30, allow_nan=False), st.integers(0, 50))),
    room=st.integers(0, 200),
)
def test_a_window_says_exactly_when_there_is_room(
    amounts: list[tuple[float, int]], room: int
) -> None:
    window, now = Window(), 0.0
    for gap, amount in amounts:
        now += gap
        window.add(now, amount)
    wait_s = window.wait_s(now, room)
    if wait_s:
        assert window.used(now + wait_s - 0.5) > room
    assert window.used(now + wait_s) <= room
    assert window.used(now + WINDOW_S + 1) == 0


def test_requests_at_once() -> None:
    key, limits = Quota(), Limits(parallel=2)
    first = key.begin(limits, 1, 0)
    key.begin(limits, 1, 0)
    refusal = key.refusal(limits, 1, 0)
    assert refusal is not None and "2 request(s) at once" in refusal.reason
    key.end(first, 1, 0)
    assert key.refusal(limits, 1, 0) is None


def test_what_was_estimated_too_low_is_waited_for() -> None:
    key, limits = Quota(), Limits(tokens_per_minute=100)
    key.end(key.begin(limits, 10, 0), 350, 1)
    refusal = key.refusal(limits, 10, 2)
    assert refusal is not None and refusal.wait_s == 60
    assert key.standings(limits, 2)["tokens"] == quota.Standing(100, 0, 60)


def test_what_was_estimated_too_high_is_given_back() -> None:
    key, limits = Quota(), Limits(tokens_per_minute=100)
    amount = key.begin(limits, 5000, 0)
    assert amount == 100 and key.refusal(limits, 1, 0)
    key.end(amount, 5, 1)
    assert key.refusal(limits, 95, 1) is None and key.refusal(limits, 96, 1)


def test_limits_that_change_while_requests_run() -> None:
    key, narrow = Quota(), Limits(requests_per_minute=1, tokens_per_minute=10, parallel=1)
    amount = key.begin(Limits(), 500, 0)
    assert key.refusal(narrow, 1, 0) and key.refusal(Limits(), 1, 0) is None
    key.end(amount, 500, 1)
    assert key.refusal(narrow, 1, 61) and key.refusal(narrow, 1, 62) is None


@pytest.mark.parametrize(
    ("characters", "most", "tokens"), [(0, 0, 0), (9, 5, 8), (400, None, 356), (1, 0, 1)]
)
def test_estimates(characters: int, most: int | None, tokens: int) -> None:
    assert quota.estimate(characters, most) == tokens


def test_headers_are_named_as_openai_does() -> None:
    key, limits = Quota(), Limits(requests_per_minute=3, tokens_per_minute=100)
    key.end(key.begin(limits, 10, 0.5), 30, 0.5)
    key.begin(limits, 20, 10)
    assert quota.headers(key.standings(limits, 10)) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "61s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "50",
        "x-ratelimit-reset-tokens": "51s",
    }
    assert quota.headers(key.standings(Limits(), 10)) == {}
