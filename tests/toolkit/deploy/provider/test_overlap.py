"""What is new of lines that come again, over all logs, cuts and repeats."""

from hypothesis import given
from hypothesis import strategies as st

from toolkit.deploy.provider.overlap import GAP, RESEND, PodTail, known

# Few kinds of lines, so that they repeat; and lines that never do.
REPEATING = st.lists(st.sampled_from("ab"), max_size=12)
CUTS = st.lists(st.integers(0, 12), max_size=4)


def told_over(log: list[str], cuts: list[int], tail: int, most: int = RESEND) -> list[str]:
    """What is told of a log that grows from cut to cut; at each a connection ends."""
    pod, told, is_first = PodTail(), [], True
    for end in [*sorted(min(cut, len(log)) for cut in cuts), len(log)]:
        if not is_first:
            pod.begin_again(most)
        there = log[:end]
        sent = there[-tail:] if is_first else there[-most:]
        for line in sent:
            told += pod.take(line)
        told += pod.settle()
        is_first = is_first and not sent
    return told


def is_within(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in part)


@given(count=st.integers(0, 40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_lines_that_differ_are_told_once_and_in_order(count: int, cuts: list[int]) -> None:
    log = [str(number) for number in range(count)]
    assert told_over(log, cuts, tail=100) == log


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5), tail=st.integers(1, 9))
def test_a_tail_is_told_once_with_all_that_follows(cuts: list[int], tail: int) -> None:
    log = [str(number) for number in range(40)]
    assert told_over(log, cuts, tail) == log[max(0, min(cuts) - tail) :]


@given(log=REPEATING, cuts=CUTS)
def test_from_the_first_line_on_repeats_are_told_exactly(log: list[str], cuts: list[int]) -> None:
    assert told_over(log, cuts, tail=100) == log


@given(log=REPEATING, cuts=CUTS, tail=st.integers(1, 4))
def test_no_line_behind_a_tail_is_lost(log: list[str], cuts: list[int], tail: int) -> None:
    begun = next((cut for cut in sorted(cuts) if cut), len(log))
    expected = log[max(0, min(begun, len(log)) - tail) :]
    assert is_within(expected, told_over(log, cuts, tail))


def test_more_lines_than_are_sent_again_leave_a_gap_that_is_told() -> None:
    log = [str(number) for number in range(50)]
    assert told_over(log, [10], tail=100, most=20) == [*log[:10], GAP, *log[30:]]


def test_what_is_remembered_is_bounded_and_still_found() -> None:
    log = [str(number) for number in range(5 * RESEND - 2)]
    assert told_over(log, [3 * RESEND, 4 * RESEND - 1], tail=len(log)) == log


def test_a_connection_that_ends_early_changes_nothing() -> None:
    pod = PodTail()
    for line in "abc":
        pod.take(line)
    pod.begin_again(RESEND)
    assert pod.take("a") == []
    assert pod.is_holding
    assert pod.held_chars == 1
    pod.begin_again(RESEND)
    assert [new for line in "abcd" for new in pod.take(line)] == ["d"]


@given(told=st.lists(st.sampled_from([b"a", b"b"])), again=st.lists(st.sampled_from([b"a", b"b"])))
def test_what_is_known_ends_with_what_was_told(told: list[bytes], again: list[bytes]) -> None:
    count = known(told, again)
    assert 0 <= count <= len(again)
    shared = min(count, len(told))
    assert again[count - shared : count] == told[len(told) - shared :]
