"""Events of the core as Anthropic's messages and streams."""

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from pydantic import TypeAdapter

from server.api.anthropic_replies import MessageEncoder, encode_error
from server.api.events import Called, Delta, Event, Thinking
from server.engine.types import FinishReason
from server.errors import (
    EngineCrashed,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    ServerError,
    StorageFull,
)
from tests.server.api.said import CALLS, EVENTS, STARTED, done, kinds, whole
from tests.support.named_events import events_of
from tests.support.sdk_models import checked, checked_event

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
SAID = (
    Thinking("h"),
    Thinking("m"),
    Delta("Let me "),
    Delta("see."),
    Called(0, CALLS[0]),
    Called(1, CALLS[1]),
    Delta(""),
)


def encoder() -> MessageEncoder:
    return MessageEncoder("m", stop_sequences=["END"], max_tokens=10)


def stream(events: list[Event]) -> list[dict[str, Any]]:
    one = encoder()
    return events_of("".join(one.frame(event).decode() for event in events))


def message(events: list[Event]) -> Message:
    return checked(Message, json.loads(encoder().whole(events)))


def accumulated(events: list[dict[str, Any]]) -> Message:
    """What the official client makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] != "ping":
            typed = checked_event(EVENT, event)
            snapshot = accumulate_event(event=typed, current_snapshot=snapshot, json_bufs=buffers)
    assert isinstance(snapshot, Message)
    return snapshot


def shown(found: Message) -> list[tuple[str, str]]:
    kinds_of = {"text": ("text", "text"), "thinking": ("thought", "thinking")}
    return [
        ("call", block.name)
        if block.type == "tool_use"
        else (kinds_of[block.type][0], getattr(block, kinds_of[block.type][1]))
        for block in found.content
    ]


def test_blocks_come_in_the_order_in_which_they_were_said() -> None:
    found = message(whole(*SAID))
    assert [block.type for block in found.content] == ["thinking", "text", "tool_use", "tool_use"]
    thought, text, first, second = found.content
    assert thought.type == "thinking" and thought.thinking == "hm" and thought.signature
    assert text.type == "text" and text.text == "Let me see."
    assert first.type == "tool_use" and first.input == CALLS[0].arguments
    assert second.type == "tool_use" and second.input == {}
    assert first.id.startswith("toolu_") and first.id != second.id
    assert found.stop_reason == "tool_use"


def test_the_events_of_a_stream() -> None:
    events = stream(whole(*SAID))
    steps = [
        (event["type"].removeprefix("content_block_"), event["index"], *detail(event))
        for event in events
        if "index" in event
    ]
    signed = [step for step in steps if step[2:] == ("signature_delta",)]
    assert len(signed) == 1
    assert steps == [
        ("start", 0, "thinking"),
        ("delta", 0, "thinking_delta"),
        ("delta", 0, "thinking_delta"),
        ("delta", 0, "signature_delta"),
        ("stop", 0),
        ("start", 1, "text"),
        ("delta", 1, "text_delta"),
        ("delta", 1, "text_delta"),
        ("stop", 1),
        ("start", 2, "tool_use"),
        ("delta", 2, "input_json_delta"),
        ("delta", 2, "input_json_delta"),
        ("stop", 2),
        ("start", 3, "tool_use"),
        ("delta", 3, "input_json_delta"),
        ("delta", 3, "input_json_delta"),
        ("stop", 3),
    ]
    others = [event["type"] for event in events if "index" not in event]
    assert others == ["message_start", "ping", "message_delta", "message_stop"]
    (begun,) = [e["content_block"] for e in events if e.get("index") == 2 and "content_block" in e]
    assert begun["input"] == {}


def detail(event: dict[str, Any]) -> list[str]:
    return [event[key]["type"] for key in ("content_block", "delta") if key in event]


def test_two_signatures_are_never_the_same() -> None:
    found = message(whole(Thinking("a"), Delta("b"), Thinking("a")))
    signatures = {block.signature for block in found.content if block.type == "thinking"}
    assert len(signatures) == 2


@given(EVENTS)
def test_the_official_client_reads_from_a_stream_what_was_said(said: list[Event]) -> None:
    events = whole(*said)
    streamed, at_once = accumulated(stream(events)), message(events)
    assert shown(streamed) == shown(at_once) == kinds(said)
    assert streamed.stop_reason == at_once.stop_reason
    assert streamed.usage == at_once.usage


@pytest.mark.parametrize(
    ("reason", "stop_string", "output_tokens", "expected"),
    [
        (FinishReason.EOS, None, 10, ("tool_use", None)),
        (FinishReason.STOP_STRING, "END", 10, ("stop_sequence", "END")),
        (FinishReason.STOP_STRING, "the model's own", 10, ("tool_use", None)),
        (FinishReason.LENGTH, None, 10, ("max_tokens", None)),
        (FinishReason.LENGTH, None, 9, ("max_tokens", None)),
    ],
)
def test_the_reason_behind_a_call(
    reason: FinishReason, stop_string: str | None, output_tokens: int, expected: tuple[Any, Any]
) -> None:
    last = done(reason, stop_string)
    one = MessageEncoder("m", stop_sequences=["END"], max_tokens=output_tokens)
    found = json.loads(one.whole(whole(Called(0, CALLS[0]), last=last)))
    assert (found["stop_reason"], found["stop_sequence"]) == expected


def test_cached_tokens_are_not_among_the_others() -> None:
    usage = message(whole(Delta("a"))).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (7, 5, 10)


def test_an_error_in_a_stream_is_an_event() -> None:
    one = encoder()
    frames = [one.frame(STARTED), one.frame(Delta("a")), one.failure(EngineCrashed("it died"))]
    events = events_of(b"".join(frames).decode())
    error = checked(ErrorResponse, events[-1])
    assert (error.error.type, error.error.message) == ("api_error", "it died")
    assert not [event for event in events if event["type"] == "message_stop"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("m", retry_after_s=1), "rate_limit_error"),
        (Overloaded("m"), "overloaded_error"),
        (PayloadTooLarge("m"), "request_too_large"),
        (StorageFull("m"), "api_error"),
    ],
)
def test_the_types_of_errors(error: ServerError, kind: str) -> None:
    found = json.loads(encode_error(error))
    assert found["error"] == {"type": kind, "message": "m"}


def test_a_heartbeat_is_a_ping() -> None:
    assert events_of(encoder().heartbeat().decode()) == [{"type": "ping"}]


def test_the_next_step_stands_behind_the_error() -> None:
    found = json.loads(encode_error(Overloaded("too many", hint="come back")))
    assert found["error"]["message"] == "too many (come back)"
