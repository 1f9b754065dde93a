"""POST /v1/messages and its count_tokens on a real port, over the fake engine."""

import re
from typing import Any

import httpx2
import pytest
from anthropic.types import Message, MessageTokensCount

from tests.support.named_events import events_of
from tests.support.sdk_models import checked

USAGE = {
    "cache_creation_input_tokens": 0,
    "service_tier": "standard",
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def create(client: httpx2.Client, *turns: dict[str, Any], **body: Any) -> httpx2.Response:
    basis = {"model": "m", "max_tokens": 50, "messages": turns}
    return client.post("/v1/messages", json=basis | body)


def said(client: httpx2.Client, *turns: dict[str, Any], **body: Any) -> Message:
    response = create(client, *turns, **body)
    assert response.status_code == 200, response.text
    return checked(Message, response.json())


def prompt_tokens(message: Message) -> int:
    """All tokens of the prompt: the cached ones are not among the others."""
    return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_one_message(client: httpx2.Client) -> None:
    reply = create(client, user("⟦ab⟧")).json()
    assert re.fullmatch("msg_[0-9a-f]{24}", reply.pop("id"))
    usage = reply.pop("usage")
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] > 10
    assert usage["output_tokens"] == 3 and usage.items() >= USAGE.items()
    assert reply == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "ab"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


def test_a_stream(client: httpx2.Client) -> None:
    response = create(client, user("⟦ab⟧"), stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(response.text)
    start, usage = events[0]["message"], events[0]["message"]["usage"]
    assert start["content"] == [] and start["stop_reason"] is None
    assert usage["output_tokens"] == 0 and usage["cache_read_input_tokens"] == 0
    assert events[1:-2] == [
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in "ab"
        ),
        {"type": "content_block_stop", "index": 0},
    ]
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    end = events[-2]["usage"]
    assert end["input_tokens"] + end["cache_read_input_tokens"] == usage["input_tokens"]
    assert end["output_tokens"] == 3
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("body", "reason", "sequence", "text"),
    [
        ({"max_tokens": 2}, "max_tokens", None, "ab"),
        ({"stop_sequences": ["x", "c"]}, "stop_sequence", "c", "ab"),
        ({"stop_sequences": [""]}, "end_turn", None, "abcd"),
        ({"options": {"stop": ["c"]}}, "end_turn", None, "ab"),
        ({"max_tokens": 4000, "options": {"ignore_eos": True}},
         "model_context_window_exceeded", None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_why_a_message_ends(
    client: httpx2.Client,
    body: dict[str, Any],
    reason: str,
    sequence: str | None,
    text: str | None,
    stream: bool,
) -> None:
    response = create(client, user("⟦abcd⟧"), stream=stream, **body)
    if stream:
        (ended,) = [e for e in events_of(response.text) if e["type"] == "message_delta"]
        assert ended["delta"] == {"stop_reason": reason, "stop_sequence": sequence}
        return
    message = checked(Message, response.json())
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    if text is not None:
        assert [block.text for block in message.content if block.type == "text"] == [text]


def test_a_message_that_says_nothing_has_no_content(client: httpx2.Client) -> None:
    assert said(client, user("⟦⟧"), max_tokens=1).content == []


def test_cached_tokens_are_told_apart(client: httpx2.Client) -> None:
    text = "⟦once⟧ and the same again"
    first, second = said(client, user(text)), said(client, user(text))
    assert prompt_tokens(first) == prompt_tokens(second)
    assert (second.usage.cache_read_input_tokens or 0) > 10
    assert second.usage.input_tokens < 10


def test_the_tokens_are_counted_as_they_are_read(client: httpx2.Client) -> None:
    body = {"system": "Be brief.", "messages": [user("⟦ab⟧")]}
    reply = client.post("/v1/messages/count_tokens", json={"model": "m", **body})
    counted = checked(MessageTokensCount, reply.json()).input_tokens
    assert counted == prompt_tokens(said(client, **body))


def test_more_tokens_than_fit_are_counted_too(client: httpx2.Client) -> None:
    body = {"model": "m", "messages": [user("x" * 5000)]}
    reply = client.post("/v1/messages/count_tokens", json=body)
    assert reply.json()["input_tokens"] > 5000


def test_a_prompt_that_is_too_long_is_an_error_by_the_words_that_agents_know(
    client: httpx2.Client,
) -> None:
    for stream in (False, True):
        response = create(client, user("x" * 300), stream=stream)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith("prompt is too long: ")


def test_a_last_turn_of_the_assistant_is_gone_on_with(client: httpx2.Client) -> None:
    assert said(client, user("hi"), {"role": "assistant", "content": "⟦more⟧"}).content


def test_a_models_parameter_stands_over_our_default_and_under_the_request(
    client: httpx2.Client,
) -> None:
    """That model says `num_predict 3` and `stop STOP`."""
    reply = said(client, user("⟦a STOP b⟧"), model="user/custom:7b", max_tokens=20)
    assert reply.stop_reason == "end_turn" and reply.usage.output_tokens > 3


def test_thinking_is_silently_off_where_the_model_cannot(client: httpx2.Client) -> None:
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
        assert said(client, user("⟦ab⟧"), thinking=thinking).content[0].type == "text"


def test_what_is_ignored(client: httpx2.Client) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    block = {"type": "text", "text": "⟦ab⟧", "citations": None, **cached}
    reply = said(
        client, user([block]), system=[{"type": "text", "text": "s", **cached}],
        metadata={"user_id": "x"}, service_tier="auto", inference_geo="eu", **cached,
    )  # fmt: skip
    assert reply.content


def test_headers(client: httpx2.Client) -> None:
    response = create(client, user("⟦ab⟧"))
    ours = response.headers["x-request-id"]
    assert response.headers["request-id"] == f"req_{ours}"
    refused = client.post("/v1/messages", json={}, headers={"x-request-id": "mine-1"})
    assert refused.headers["request-id"] == refused.json()["request_id"] == "req_mine-1"
