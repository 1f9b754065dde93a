"""Frames and names as a provider sends them, and as it never should."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.deploy.provider import messages
from toolkit.deploy.provider.messages import CUT, MAX_LINE, Event, LogLine
from toolkit.errors import EndpointError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("name", "message", "type", "reason", "note", "object", "services", "forwarded_ports")
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES)
FRAMES = st.binary() | VALUES.map(msgspec.json.encode) | OBJECTS.map(msgspec.json.encode)

STEERING = {chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2066)}


@given(FRAMES)
def test_every_frame_becomes_a_line_and_an_event(frame: bytes) -> None:
    line = messages.log_line(frame)
    assert not STEERING & set(line.cleaned.pod + line.cleaned.text) - {"\t"}
    event = messages.event(frame).cleaned
    assert not STEERING & set(event.kind + event.reason + event.note + event.subject) - {"\t"}


@given(FRAMES)
def test_every_body_is_a_status_or_refused(body: bytes) -> None:
    try:
        status = messages.lease_status(body)
    except EndpointError:
        return
    assert status.is_up in (True, False)


@given(pod=st.text(min_size=1), text=st.text())
def test_a_line_comes_as_it_was_sent(pod: str, text: str) -> None:
    frame = msgspec.json.encode({"name": pod, "message": text})
    assert messages.log_line(frame) == LogLine(pod, text)


def test_texts_are_bounded() -> None:
    long = "x" * (MAX_LINE + 1)
    bounded = long[:-1] + CUT
    assert messages.log_line(msgspec.json.encode({"name": "a", "message": long})).text == bounded
    assert messages.log_line(long.encode()).text == bounded
    assert messages.event(msgspec.json.encode({"note": long})).note == bounded


def test_an_event_may_lack_everything() -> None:
    assert messages.event(b"{}") == Event("", "", "", "")
    assert messages.event(b'{"object":{"kind":"Pod","name":null}}').subject == "Pod"


@pytest.mark.parametrize(
    ("pod", "service"),
    [
        ("vllm-5cf7d8bb9-x2x4z", "vllm"),
        ("my-llm-5cf7d8bb9-24567", "my-llm"),
        ("vllm-0", "vllm"),
        ("my-llm-2-0", "my-llm-2"),
        ("vllm", "vllm"),
        ("", ""),
    ],
)
def test_the_service_is_in_front_of_what_kubernetes_adds(pod: str, service: str) -> None:
    assert LogLine(pod, "").service == service
