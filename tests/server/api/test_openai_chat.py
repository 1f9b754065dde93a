"""POST /v1/chat/completions on a real port, over the fake engine."""

from typing import Any

import httpx2
import pytest

from tests.support import openai_shapes as shapes


def chat(client: httpx2.Client, content: str = "⟦ab⟧", **body: Any) -> httpx2.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **body}
    return client.post("/v1/chat/completions", json=body)


def test_one_object_by_default(client: httpx2.Client) -> None:
    response = chat(client)
    assert response.headers["content-type"].startswith("application/json")
    reply = shapes.completion(response.json())
    assert reply.model == "m" and reply.id.startswith("chatcmpl-")
    assert reply.choices[0].message.content == "ab" and reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream(client: httpx2.Client) -> None:
    response = chat(client, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"] == "text/event-stream"
    chunks = shapes.chunks(shapes.events_of(response.text))
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "ab"
    assert chunks[-1].usage is not None and chunks[-1].choices == []
    assert len({(chunk.id, chunk.created, chunk.system_fingerprint) for chunk in chunks}) == 1


def test_the_model_is_echoed_and_found_without_regard_to_case(client: httpx2.Client) -> None:
    reply = chat(client, model="USER/custom:7B").json()
    assert reply["model"] == "USER/custom:7B"


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"max_tokens": 3}, "abc", "length"),
        ({"max_completion_tokens": 2, "max_tokens": 3}, "ab", "length"),
        ({"options": {"num_predict": 4}}, "abcd", "length"),
        ({"options": {"num_predict": 4}, "max_tokens": 1}, "a", "length"),
        ({"max_tokens": -1}, "abcdef", "stop"),
        ({"stop": "d"}, "abc", "stop"),
        ({"stop": ["x", "ef"]}, "abcd", "stop"),
        ({"ignore_eos": True, "max_tokens": 8}, "abcdefab", "length"),
        ({"model": "user/custom:7b"}, "abc", "length"),
        ({"model": "user/custom:7b", "max_tokens": 5}, "abcde", "length"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_where_a_reply_ends(
    client: httpx2.Client, stream: bool, fields: dict[str, Any], text: str, reason: str
) -> None:
    response = chat(client, "⟦abcdef⟧", stream=stream, **fields)
    if stream:
        chunks = shapes.chunks(shapes.events_of(response.text))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert (said, chunks[-1].choices[0].finish_reason) == (text, reason)
    else:
        (choice,) = shapes.completion(response.json()).choices
        assert (choice.message.content, choice.finish_reason) == (text, reason)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_several_choices(client: httpx2.Client, count: int) -> None:
    one = chat(client, "⟦abc⟧").json()["usage"]
    reply = shapes.completion(chat(client, "⟦abc⟧", n=count).json())
    assert [choice.index for choice in reply.choices] == list(range(count))
    assert {choice.message.content for choice in reply.choices} == {"abc"}
    assert reply.usage is not None and reply.usage.prompt_tokens == one["prompt_tokens"]
    assert reply.usage.completion_tokens == count * one["completion_tokens"]


def test_several_choices_as_a_stream(client: httpx2.Client) -> None:
    response = chat(client, "⟦abc⟧", n=3, stream=True, stream_options={"include_usage": True})
    *chunks, last = shapes.chunks(shapes.events_of(response.text))
    for index in range(3):
        own = [c for chunk in chunks for c in chunk.choices if c.index == index]
        assert "".join(c.delta.content or "" for c in own) == "abc"
        assert [c.finish_reason for c in own] == [None] * (len(own) - 1) + ["stop"]
        assert [c.delta.role for c in own] == ["assistant"] + [None] * (len(own) - 1)
    assert last.usage is not None and last.usage.completion_tokens >= 9


def test_logprobs(client: httpx2.Client) -> None:
    reply = shapes.completion(chat(client, logprobs=True, top_logprobs=2).json())
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    first, second = logprobs.content
    assert (first.token, first.bytes, second.token) == ("a", [97], "b")
    assert [len(one.top_logprobs) for one in logprobs.content] == [2, 2]
    without = shapes.completion(chat(client, logprobs=True).json()).choices[0].logprobs
    assert without is not None and without.content is not None
    assert without.content[0].top_logprobs == []
    assert chat(client).json()["choices"][0]["logprobs"] is None


def test_a_prompt_that_is_cut_says_so(client: httpx2.Client) -> None:
    for stream in (False, True):
        response = chat(client, "x" * 300 + "⟦ab⟧", stream=stream)
        cut = int(response.headers["x-truncated-tokens"])
        last = shapes.events_of(response.text)[-1] if stream else response.json()
        assert last["truncated"] == cut > 0
    assert "truncated" not in chat(client).json()


def test_a_window_that_is_not_there_is_clamped_and_said(client: httpx2.Client) -> None:
    assert chat(client, num_ctx=100_000).headers["x-num-ctx"] == "256"
    assert chat(client, num_ctx=64, truncate=False, content="x" * 100).status_code == 400


def test_the_system_text_of_the_model_and_of_a_developer(client: httpx2.Client) -> None:
    """The last line of the prompt comes back, so the roles and their order show."""
    body = {"model": "m", "messages": [{"role": "developer", "content": "Be brief."}]}
    tokens = client.post("/tokenize", json=body).json()["tokens"]
    text = client.post("/detokenize", json={"model": "m", "tokens": tokens}).json()["content"]
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n"


def test_a_stored_keep_alive(client: httpx2.Client) -> None:
    assert chat(client, model="user/custom:7b", keep_alive=0).status_code == 200
    chat(client, keep_alive="1h")
    names = [model["name"] for model in client.get("/api/ps").json()["models"]]
    assert "m:latest" in names


def test_what_the_engine_refuses_is_a_400(client: httpx2.Client) -> None:
    """The fake engine knows no grammars."""
    response = chat(client, response_format={"type": "json_object"})
    assert response.status_code == 400 and "grammar" in response.json()["error"]["message"]
