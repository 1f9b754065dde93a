"""Addresses that come without a key."""

from server.attempts import ALLOWED, MAX_ADDRESSES, SPAN_S, Attempts


def test_counts_per_address_and_span() -> None:
    attempts = Attempts()
    assert [attempts.fail("a", now) for now in (0, 1, 59)] == [1, 2, 3]
    assert attempts.fail("b", 59) == 1
    assert attempts.wait_s("a", 59) == 1
    assert attempts.fail("a", SPAN_S) == 1
    assert attempts.wait_s("c", 0) == 0


def test_memory_is_bounded_and_those_who_come_often_are_remembered() -> None:
    attempts = Attempts()
    for number in range(3 * MAX_ADDRESSES):
        attempts.fail(f"10.0.0.{number}", 1)
        often = attempts.fail("often", 1)
    assert often == 3 * MAX_ADDRESSES > ALLOWED
    assert attempts.fail("10.0.0.0", 1) == 1
