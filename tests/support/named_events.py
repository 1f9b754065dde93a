"""Streams of events with names, taken apart."""

import json
from typing import Any


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of the events; each says its name again as its `type`."""
    *frames, rest = text.split("\n\n")
    assert rest == ""
    return [_event(frame) for frame in frames if not frame.startswith(":")]


def _event(frame: str) -> dict[str, Any]:
    name, data = frame.split("\n")
    event: dict[str, Any] = json.loads(data.removeprefix("data: "))
    assert name == f"event: {event['type']}"
    return event
