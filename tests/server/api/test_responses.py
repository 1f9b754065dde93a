"""POST /v1/responses on a real port, over the fake engine."""

import re
from typing import Any

import httpx2
import pytest
from openai.types.responses import Response, ResponseOutputText

from tests.support.named_events import events_of
from tests.support.sdk_models import checked

FUNCTION = {
    "type": "function",
    "name": "f",
    "description": None,
    "parameters": {"type": "object", "properties": {}},
    "strict": True,
}


def create(client: httpx2.Client, given: Any = "⟦ab⟧", **body: Any) -> httpx2.Response:
    return client.post("/v1/responses", json={"model": "m", "input": given, **body})


def said(client: httpx2.Client, given: Any = "⟦ab⟧", **body: Any) -> Response:
    response = create(client, given, **body)
    assert response.status_code == 200, response.text
    return checked(Response, response.json())


def test_one_response_with_all_its_fields(client: httpx2.Client) -> None:
    reply = create(client).json()
    assert re.fullmatch("resp_[0-9a-f]{48}", reply.pop("id"))
    (item,) = reply.pop("output")
    assert re.fullmatch("msg_[0-9a-f]{48}", item.pop("id"))
    assert item == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}],
    }
    assert reply.pop("completed_at") >= reply.pop("created_at") > 1_700_000_000
    usage = reply.pop("usage")
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] == 3
    assert usage["input_tokens"] > usage["input_tokens_details"]["cached_tokens"]
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert reply == {
        "object": "response",
        "status": "completed",
        "background": False,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "m",
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
    }


def test_what_was_asked_for_is_repeated(client: httpx2.Client) -> None:
    reply = said(
        client, instructions="Be brief.", max_output_tokens=20, temperature=0, top_p=0.5,
        metadata={"a": "b"}, user="u", reasoning={"effort": "xhigh", "summary": "auto"},
        parallel_tool_calls=False, truncation="auto", text={"verbosity": "low"}, store=True,
        include=["reasoning.encrypted_content"], prompt_cache_key="k",
    )  # fmt: skip
    assert reply.instructions == "Be brief." and reply.max_output_tokens == 20
    assert (reply.temperature, reply.top_p) == (0, 0.5)
    assert reply.metadata == {"a": "b"} and reply.user == "u" and reply.prompt_cache_key == "k"
    assert reply.reasoning is not None
    assert (reply.reasoning.effort, reply.reasoning.summary) == ("xhigh", "auto")
    assert reply.parallel_tool_calls is False and reply.truncation == "auto"
    assert reply.text is not None and reply.text.verbosity == "low"
    assert create(client, store=True).json()["store"] is False


def test_a_models_parameter_stands_over_our_default_and_under_the_request(
    client: httpx2.Client,
) -> None:
    """That model says `temperature 0.5` and `num_predict 3`."""
    own = said(client, "⟦abcdef⟧", model="user/custom:7b")
    assert own.temperature == 0.5 and own.usage and own.usage.output_tokens == 3
    asked = said(client, "⟦abcdef⟧", model="user/custom:7b", temperature=0.25, max_output_tokens=50)
    assert asked.temperature == 0.25 and asked.output_text == "abcdef"


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_cut_off_is_incomplete(client: httpx2.Client, stream: bool) -> None:
    response = create(client, "⟦abcd⟧", max_output_tokens=2, stream=stream)
    if stream:
        last = events_of(response.text)[-1]
        assert last["type"] == "response.incomplete"
        found = checked(Response, last["response"])
    else:
        found = checked(Response, response.json())
    assert found.status == "incomplete" and found.completed_at is None
    assert found.incomplete_details and found.incomplete_details.reason == "max_output_tokens"
    (item,) = found.output
    assert item.type == "message" and item.status == "incomplete"
    assert found.output_text == "ab"


def test_a_stream(client: httpx2.Client) -> None:
    response = create(client, stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(response.text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert {event["item_id"] for event in events if "item_id" in event} == {
        events[-1]["response"]["output"][0]["id"]
    }
    begun, ended = events[0]["response"], events[-1]["response"]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert begun["id"] == ended["id"] and ended["status"] == "completed"
    assert not response.text.endswith("[DONE]\n\n")


def test_a_prompt_that_is_too_long(client: httpx2.Client) -> None:
    long = [{"role": "user", "content": "x" * 300}, {"role": "user", "content": "⟦ab⟧"}]
    refused = create(client, long)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    cut = create(client, long, truncation="auto")
    assert cut.json()["truncated"] == int(cut.headers["x-truncated-tokens"]) > 0
    assert "truncated" not in create(client, truncation="auto").json()


def test_ollamas_options_come_along(client: httpx2.Client) -> None:
    assert said(client, "⟦abc⟧", options={"num_predict": 2}).output_text == "ab"
    assert said(client, "⟦abc⟧", ignore_eos=True, max_output_tokens=5).output_text == "abcab"
    assert create(client, num_ctx=4096).headers["x-num-ctx"] == "256"
    assert said(client, keep_alive="1h").output_text == "ab"


def test_a_response_that_says_nothing_is_an_empty_message(client: httpx2.Client) -> None:
    reply = said(client, "⟦⟧")
    assert [item.type for item in reply.output] == ["message"] and reply.output_text == ""


def test_tools_and_formats_are_repeated_when_nothing_is_called(client: httpx2.Client) -> None:
    reply = said(client, tools=[FUNCTION], tool_choice="none")
    assert [tool.to_dict() for tool in reply.tools] == [FUNCTION]
    assert reply.tool_choice == "none"


def test_effort_is_silently_off_where_the_model_cannot_think(client: httpx2.Client) -> None:
    for effort in ("none", "minimal", "low", "high", "ultra"):
        assert said(client, reasoning={"effort": effort}).output_text == "ab"


@pytest.mark.parametrize("top", [0, 2])
def test_logprobs(client: httpx2.Client, top: int) -> None:
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": top}
    reply = said(client, **asked)
    (item,) = reply.output
    assert item.type == "message" and reply.top_logprobs == top
    (part,) = item.content
    assert part.type == "output_text" and part.logprobs is not None
    assert [(one.token, one.bytes) for one in part.logprobs] == [("a", [97]), ("b", [98])]
    assert [len(one.top_logprobs) for one in part.logprobs] == [top, top]
    events = events_of(create(client, stream=True, **asked).text)
    whole = [one.model_dump(exclude={"bytes"}) for one in part.logprobs]
    for one in whole:
        one["top_logprobs"] = [{k: t[k] for k in ("token", "logprob")} for t in one["top_logprobs"]]
    deltas = [e for e in events if e["type"] == "response.output_text.delta"]
    assert [one for delta in deltas for one in delta["logprobs"]] == whole
    (done,) = [e for e in events if e["type"] == "response.output_text.done"]
    assert done["logprobs"] == whole
    (ended,) = [e for e in events if e["type"] == "response.content_part.done"]
    assert checked(ResponseOutputText, ended["part"]).logprobs == part.logprobs


def test_no_logprobs_unless_they_are_to_be_included(client: httpx2.Client) -> None:
    for more in ({}, {"top_logprobs": 3}, {"include": ["reasoning.encrypted_content"]}):
        assert create(client, **more).json()["output"][0]["content"][0]["logprobs"] == []
        for event in events_of(create(client, stream=True, **more).text):
            if event["type"] in ("response.output_text.delta", "response.output_text.done"):
                assert event["logprobs"] == []
