"""Where OpenAI's and Anthropic's dialects follow Ollama's layers for them: words, order and
defaults that clients of those layers know. The shapes themselves are held against the official
clients' types elsewhere.
"""

import json
import re
from typing import Any

import httpx2
import pytest

from tests.support.named_events import events_of

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
ANSWER, MESSAGES = "/v1/responses", "/v1/messages"
SAID = [{"role": "user", "content": "⟦<think>hm</think>ab⟧"}]
CALL = '⟦<tool_call>{"name": "f", "arguments": {"z": 1, "a": "é"}}</tool_call>⟧'
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
Body = dict[str, Any]

REFUSALS: list[tuple[str, str, Body, int, str, str]] = [
    ("13.1", CHAT, {"model": "nope", "messages": SAID}, 404, "not_found_error",
     "model 'nope' not found"),
    ("13.1", TEXT, {"model": "nope", "prompt": "x"}, 404, "not_found_error",
     "model 'nope' not found"),
    ("13.1", EMBED, {"model": "nope", "input": "x"}, 404, "not_found_error",
     "model 'nope' not found"),
    ("13.1", ANSWER, {"model": "nope", "input": "x"}, 404, "not_found_error",
     "model 'nope' not found"),
    ("13.2", CHAT, {"model": "m", "messages": []}, 400, "invalid_request_error",
     "[] is too short - 'messages'"),
    ("13.2", CHAT, {"model": "m", "messages": [{"role": "user", "content": None}]}, 400,
     "invalid_request_error", "invalid message content type: <nil>"),
    ("13.2", CHAT, {"model": "m", "messages": SAID, "reasoning_effort": "x"}, 400,
     "invalid_request_error", "invalid reasoning value: 'x'"),
    ("13.2", CHAT, {"model": "m", "messages": SAID, "reasoning": {"effort": "x"}}, 400,
     "invalid_request_error", "invalid reasoning value: 'x'"),
    ("13.2", CHAT, {"model": "plain", "messages": SAID, "tools": [FUNCTION]}, 400,
     "invalid_request_error", "registry.ollama.ai/library/plain:latest does not support tools"),
    ("13.4", EMBED, {"model": "m", "input": ""}, 400, "invalid_request_error", "invalid input"),
    ("13.4", EMBED, {"model": "m"}, 400, "invalid_request_error", "invalid input"),
    ("13.4", EMBED, {"model": "m", "input": "x", "encoding_format": "hex"}, 400,
     "invalid_request_error",
     "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "message"),
    [row[1:] for row in REFUSALS],
    ids=[f"{row[0]} {row[1]} {row[5]}" for row in REFUSALS],
)
def test_openai_refusals(
    teller: httpx2.Client, path: str, body: Body, status: int, kind: str, message: str
) -> None:
    response = teller.post(path, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (status, kind)
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"].partition(" (")[0] == message


@pytest.mark.parametrize("name", ["float", "FLOAT", "Base64", "base64"])
def test_encodings_in_any_case(teller: httpx2.Client, name: str) -> None:
    body = {"model": "m", "input": "x", "encoding_format": name}
    reply = teller.post(EMBED, json=body).json()
    assert list(reply)[:4] == ["object", "data", "model", "usage"]
    (item,) = reply["data"]
    assert list(item) == ["object", "embedding", "index"]
    assert isinstance(item["embedding"], str) is (name.lower() == "base64")


def test_the_order_of_a_model(teller: httpx2.Client) -> None:
    reply = teller.get("/v1/models/m").json()
    assert list(reply) == ["id", "object", "created", "owned_by"]
    assert (reply["id"], reply["object"], reply["owned_by"]) == ("m", "model", "library")


def test_a_chat_in_one_piece(teller: httpx2.Client) -> None:
    """One object unless a stream is asked for; the model thinks unless told not to."""
    reply = teller.post(CHAT, json={"model": "m", "messages": SAID}).json()
    assert list(reply) == [
        "id", "object", "created", "model", "system_fingerprint", "choices", "usage",
    ]  # fmt: skip
    assert reply["object"] == "chat.completion"
    message = reply["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("ab", "hm")
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_a_chat_in_many_pieces(teller: httpx2.Client) -> None:
    body = {"model": "m", "messages": SAID, "stream": True}
    response = teller.post(CHAT, json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *frames, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant" and not any("role" in one for one in deltas[1:])
    assert not any(one.get("reasoning") and one.get("content") for one in deltas)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert deltas[-1] == {} and reasons == [None] * (len(chunks) - 1) + ["stop"]


def test_arguments_of_a_call_are_text(teller: httpx2.Client) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": CALL}], "tools": [FUNCTION]}
    (choice,) = teller.post(CHAT, json=body).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["type"]) == ("tool_calls", "function")
    assert re.fullmatch("call_[a-z0-9]{8}", call["id"])
    assert call["function"] == {"name": "f", "arguments": '{"z":1,"a":"é"}'}


def test_a_text(teller: httpx2.Client) -> None:
    for stream in (False, True):
        body = {"model": "m", "prompt": "⟦ab⟧", "stream": stream}
        text = teller.post(TEXT, json=body).text.removeprefix("data: ").split("\n\n")[0]
        reply = json.loads(text)
        assert reply["object"] == "text_completion" and reply["id"].startswith("cmpl-")


def test_a_response_is_not_done_twice(teller: httpx2.Client) -> None:
    """Named events with numbers, and no `[DONE]`."""
    body = {"model": "m", "input": "⟦ab⟧", "stream": True}
    events = events_of(teller.post(ANSWER, json=body).text)
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    steps = [event["type"].removeprefix("response.") for event in events]
    assert [*dict.fromkeys(steps)] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"max_tokens": 0}, 400, "invalid_request_error", "model is required"),
        ({"model": "nope"}, 400, "invalid_request_error",
         "max_tokens is required and must be positive"),
        ({"model": "nope", "max_tokens": -1}, 400, "invalid_request_error",
         "max_tokens is required and must be positive"),
        ({"model": "nope", "max_tokens": 1}, 400, "invalid_request_error",
         "messages is required"),
        ({"model": "nope", "max_tokens": 1, "messages": SAID}, 404, "not_found_error",
         "model 'nope' not found"),
        ({"model": "plain", "max_tokens": 1, "messages": SAID, "tools": [TOOL]}, 400,
         "invalid_request_error", "registry.ollama.ai/library/plain:latest does not support tools"),
    ],
    ids=lambda value: f"13.7 {value}",
)  # fmt: skip
def test_anthropic_refusals(
    teller: httpx2.Client, body: Body, status: int, kind: str, message: str
) -> None:
    """In this order; the headers that Anthropic's cloud demands are not needed."""
    response = teller.post(MESSAGES, json=body)
    reply = response.json()
    assert list(reply) == ["type", "error", "request_id"] and reply["type"] == "error"
    assert response.status_code == status
    assert (reply["error"]["type"], reply["error"]["message"]) == (kind, message)
    assert reply["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("said", "more", "kinds", "reason"),
    [
        ("⟦ab⟧", {}, ["text"], "end_turn"),
        ("⟦ab⟧", {"max_tokens": 1}, ["text"], "max_tokens"),
        ("⟦<think>hm</think>ab⟧", {"thinking": {"type": "enabled", "budget_tokens": 1024}},
         ["thinking", "text"], "end_turn"),
        ("⟦ab⟧", {"model": "plain", "thinking": {"type": "enabled", "budget_tokens": 1024}},
         ["text"], "end_turn"),
        (CALL, {"tools": [TOOL]}, ["tool_use"], "tool_use"),
    ],
)  # fmt: skip
def test_blocks_of_a_message(
    teller: httpx2.Client, said: str, more: Body, kinds: list[str], reason: str
) -> None:
    body = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": said}]}
    reply = teller.post(MESSAGES, json=body | more).json()
    assert [block["type"] for block in reply["content"]] == kinds
    assert reply["stop_reason"] == reason
    events = events_of(teller.post(MESSAGES, json={**body, **more, "stream": True}).text)
    starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    empty = {"text": ("text", ""), "thinking": ("thinking", ""), "tool_use": ("input", {})}
    assert [start["type"] for start in starts] == kinds
    assert all(
        start[empty[kind][0]] == empty[kind][1] for start, kind in zip(starts, kinds, strict=True)
    )
    if kinds == ["tool_use"]:
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        assert {delta["type"] for delta in deltas} == {"input_json_delta"}
        assert "".join(delta["partial_json"] for delta in deltas) == '{"z":1,"a":"é"}'
        assert reply["content"][0]["input"] == {"z": 1, "a": "é"}
