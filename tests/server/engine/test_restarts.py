"""When a runner that died is started again."""

from server.engine.restarts import Crashes, RestartPolicy

POLICY = RestartPolicy(first_s=1, longest_s=3, proven_s=60, most=6)


def pauses(*lifetimes_s: float) -> list[float | None]:
    """What is said after runners that lived so long, each started at once."""
    crashes, now_s, said = Crashes(POLICY), 1000.0, []
    for lifetime_s in lifetimes_s:
        crashes.started(now_s)
        now_s += lifetime_s
        said.append(crashes.crashed(now_s))
    return said


def test_later_each_time_and_then_not_at_all() -> None:
    assert pauses(*[1] * 7) == [0, 1, 2, 3, 3, None, None]


def test_one_that_has_proven_itself_begins_anew() -> None:
    assert pauses(1, 1, 61, 1) == [0, 1, 0, 1]
    assert pauses(*[1] * 6, 61) == [0, 1, 2, 3, 3, None, 0]
