"""When a runner that died is started again."""

from collections.abc import Collection

from server.engine.restarts import Crashes, RestartPolicy

POLICY = RestartPolicy(first_s=1, longest_s=3, proven_s=60, most=6)


def pauses(*lifetimes_s: float, serving: Collection[int] = ()) -> list[float | None]:
    """What is said after runners that lived so long, each started at once; those with the
    numbers in `serving` served a request."""
    crashes, now_s, said = Crashes(POLICY), 1000.0, []
    for number, lifetime_s in enumerate(lifetimes_s):
        crashes.started(now_s)
        now_s += lifetime_s
        said.append(crashes.crashed(now_s, has_served=number in serving))
    return said


def test_later_each_time_and_then_not_at_all() -> None:
    assert pauses(*[1] * 7) == [0, 1, 2, 3, 3, None, None]


def test_one_that_has_proven_itself_begins_anew() -> None:
    assert pauses(1, 1, 61, 1) == [0, 1, 0, 1]
    assert pauses(*[1] * 6, 61) == [0, 1, 2, 3, 3, None, 0]


def test_one_that_has_served_a_request_begins_anew_however_short_it_lived() -> None:
    assert pauses(1, 1, 1, 1, serving=[2]) == [0, 1, 0, 1]
    assert pauses(*[1] * 7, serving=[6]) == [0, 1, 2, 3, 3, None, 0]
    assert pauses(*[1] * 20, serving=range(20)) == [0] * 20
