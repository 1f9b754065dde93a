"""What a stream remembers is bounded, whatever a gateway sends."""

import msgspec

from toolkit.deploy.provider.messages import MAX_LINE
from toolkit.deploy.provider.readers import (
    MAX_EVENTS,
    MAX_HELD_CHARS,
    MAX_PODS,
    EventReader,
    LogReader,
)


def frame(pod: str, text: str) -> bytes:
    return msgspec.json.encode({"name": pod, "message": text})


def test_made_up_pods_are_forgotten_and_their_lines_still_told() -> None:
    reader = LogReader((), None, follow=True)
    told = [reader.take(frame(f"pod-{number}", "x")) for number in range(3 * MAX_PODS)]
    assert all(len(lines) == 1 for lines in told)
    reader.opened()
    assert reader.take(frame("pod-0", "x")) != []  # forgotten
    assert reader.take(frame(f"pod-{3 * MAX_PODS - 1}", "x")) == []  # remembered


def test_what_is_held_back_is_bounded() -> None:
    reader = LogReader((), None, follow=True)
    reader.take(frame("pod", "never again"))
    reader.opened()
    most = MAX_HELD_CHARS // MAX_LINE
    long = frame("pod", "y" * MAX_LINE)
    told = [line for _ in range(most + 1) for line in reader.take(long)]
    assert len(told) == most + 1
    assert not reader.is_holding


def test_events_that_are_remembered_are_bounded() -> None:
    reader = EventReader(follow=True)
    frames = [msgspec.json.encode({"note": str(number)}) for number in range(MAX_EVENTS + 10)]
    assert sum(len(reader.take(one)) for one in frames) == len(frames)
    reader.opened()
    assert len([one for one in frames if reader.take(one)]) == 10


def test_an_event_that_happens_again_after_the_past_is_told() -> None:
    reader = EventReader(follow=True)
    event = msgspec.json.encode({"note": "BackOff"})
    assert len(reader.take(event)) == 1
    reader.opened()
    assert reader.is_holding
    reader.settle()
    assert not reader.is_holding
    assert len(reader.take(event)) == 1


def test_a_connection_asks_for_what_it_needs() -> None:
    reader = LogReader(["a", "b"], 2000, follow=True)
    assert reader.query() == {"follow": "true", "tail": "2000", "service": "a,b"}
    reader.take(frame("a-0", "x"))
    assert reader.query()["tail"] == "2000"
    assert LogReader((), None, follow=False).query() == {"follow": "false"}
