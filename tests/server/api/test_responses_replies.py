"""Events of the core as OpenAI's responses and their streams."""

import json
from typing import Any

import msgspec
from hypothesis import given
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.api import responses_types as wire
from server.api.custom_tools import InputFormat
from server.api.events import Called, Delta, Event, Thinking
from server.api.responses_replies import ResponseEncoder
from server.engine.types import FinishReason, Logprob, TokenLogprob
from server.errors import EngineCrashed, ServerError
from tests.server.api.said import CALLS, EVENTS, STARTED, done, kinds, whole
from tests.support.named_events import events_of
from tests.support.sdk_models import checked, checked_event

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SAID = (Thinking("h"), Thinking("m"), Delta("a"), Called(0, CALLS[0]), Called(1, CALLS[1]))


def encoder(*tools: wire.ShownTool) -> ResponseEncoder:
    return ResponseEncoder(
        wire.Response(
            id="resp_1",
            created_at=1,
            instructions=None,
            max_output_tokens=None,
            max_tool_calls=None,
            model="m",
            parallel_tool_calls=True,
            prompt_cache_key=None,
            reasoning=wire.Reasoning(),
            safety_identifier=None,
            temperature=1.0,
            text=wire.Text(),
            tool_choice="auto",
            tools=list(tools),
            top_p=1.0,
            truncation="disabled",
            user=None,
            metadata={},
        )
    )


def stream(events: list[Event]) -> list[dict[str, Any]]:
    one = encoder()
    return events_of("".join(one.frame(event).decode() for event in events))


def response(events: list[Event]) -> Response:
    return checked(Response, json.loads(encoder().whole(events)))


def accumulated(events: list[dict[str, Any]]) -> Response | None:
    """What the official client makes of a stream: a response, if it is completed."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(checked_event(EVENT, event))
    return state._completed_response


def shown(found: Response) -> list[tuple[str, str]]:
    pairs = []
    for item in found.output:
        match item.type:
            case "message":
                pairs.append(("text", "".join(getattr(p, "text", "") for p in item.content)))
            case "reasoning":
                pairs.append(("thought", "".join(part.text for part in item.summary)))
            case "function_call":
                pairs.append(("call", item.name))
    return pairs


def test_the_events_of_a_stream() -> None:
    events = stream(whole(*SAID))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    steps = [
        (event["type"].removeprefix("response."), event["output_index"])
        for event in events
        if "output_index" in event
    ]
    assert steps == [
        ("output_item.added", 0),
        ("reasoning_summary_part.added", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.done", 0),
        ("reasoning_summary_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        *(
            (step, at)
            for at in (2, 3)
            for step in (
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
            )
        ),
    ]
    ids = [{e["item_id"] for e in events if e.get("output_index") == at and "item_id" in e}
           for at in range(4)]  # fmt: skip
    output = events[-1]["response"]["output"]
    assert ids == [{item["id"]} for item in output]
    assert [item["id"].partition("_")[0] for item in output] == ["rs", "msg", "fc", "fc"]


def test_calls() -> None:
    first, second = response(whole(*SAID)).output[2:]
    assert first.type == "function_call" and second.type == "function_call"
    assert json.loads(first.arguments) == CALLS[0].arguments and second.arguments == "{}"
    assert (first.call_id, second.call_id) == ("call_aaaaaaaa", "call_bbbbbbbb")


def test_the_call_of_a_custom_tool() -> None:
    form = InputFormat()
    one = encoder(wire.ShownCustom(name="get_time", description=None, format=form))
    events = [one.frame(event).decode() for event in whole(Called(0, CALLS[1]))]
    found = events_of("".join(events))
    streamed = accumulated(found)
    steps = [event["type"].removeprefix("response.") for event in found if "item_id" in event]
    assert steps == ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert streamed is not None
    (call,) = streamed.output
    assert call.type == "custom_tool_call" and call.input == "{}"
    assert call.id == found[-1]["response"]["output"][0]["id"]
    assert call.id and call.id.startswith("ctc_")


@given(EVENTS)
def test_the_official_client_reads_from_a_stream_what_was_said(said: list[Event]) -> None:
    events = whole(*said)
    streamed, at_once = accumulated(stream(events)), response(events)
    assert streamed is not None
    assert shown(streamed) == shown(at_once) == (kinds(said) or [("text", "")])
    assert streamed.usage == at_once.usage


@given(EVENTS)
def test_a_stream_may_break_anywhere(said: list[Event]) -> None:
    one = encoder()
    frames = [one.frame(event) for event in (STARTED, *said)]
    frames.append(one.failure(EngineCrashed("it died")))
    events = events_of(b"".join(frames).decode())
    assert accumulated(events) is None
    failed = checked(Response, events[-1]["response"])
    assert events[-1]["type"] == "response.failed" and failed.status == "failed"
    assert failed.error and (failed.error.code, failed.error.message) == ("server_error", "it died")
    assert shown(failed) == kinds(said)


def test_an_error_behind_a_heartbeat_alone() -> None:
    one = encoder()
    events = events_of((one.heartbeat() + one.failure(ServerError("no"))).decode())
    assert [event["type"] for event in events] == ["response.created", "response.failed"]


def test_a_thought_that_is_cut_off() -> None:
    found = response(whole(Thinking("hm"), last=done(FinishReason.LENGTH)))
    (item,) = found.output
    assert item.type == "reasoning" and item.status == "incomplete"
    assert found.status == "incomplete"


def logprob(text: str) -> Logprob:
    return Logprob(TokenLogprob(text, text.encode(), -0.5))


def test_logprobs_that_come_before_their_text() -> None:
    """Half a character, or the beginning of a stop string, and what no message says."""
    half = Logprob(TokenLogprob("\ufffd", "é".encode()[:1], -0.5))
    rest = Logprob(TokenLogprob("\ufffd", "é".encode()[1:], -0.5))
    said: list[Event] = [
        Thinking("h", (logprob("<think>"), logprob("h"))),
        Delta("", (logprob("</think>"),)),
        Delta("", (half,)),
        Delta("é", (rest,)),
        Delta("", (logprob("S"),)),
        Called(0, CALLS[0], (logprob("<call>"),)),
        Delta("", (logprob("."),)),
    ]
    message = response(whole(*said)).output[1]
    assert message.type == "message" and message.content[0].type == "output_text"
    found = message.content[0].logprobs or []
    assert [bytes(one.bytes) for one in found] == [b"\xc3", b"\xa9", b"S"]
    events = stream(whole(*said))
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [len(event["logprobs"]) for event in deltas] == [2, 1]


def test_tokens() -> None:
    last = msgspec.structs.replace(done(), thinking_tokens=4)
    usage = response(whole(Thinking("abcd"), Delta("efgh"), last=last)).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (12, 10, 22)
    assert usage.input_tokens_details.cached_tokens == 5
    assert usage.output_tokens_details.reasoning_tokens == 4


def test_what_was_cut_from_the_prompt_is_told() -> None:
    last = done(truncated=7)
    assert json.loads(encoder().whole(whole(last=last)))["truncated"] == 7
