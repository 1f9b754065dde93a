"""Answers of a vLLM that only the real one showed, through the front door."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server.upstream.conftest import Gateway
from tests.support.tiny_vision import picture
from tests.support.tool_template import TOOL_TEMPLATE
from tests.support.upstream_stand_in import Asked, Reply
from tests.support.vllm_stand_in import TEMPLATE, VLLMStandIn, tokens_of

# As vLLM 0.32 says it, after a status of success.
REFUSED = {"message": "Grammar error: no such\n regex", "type": "BadRequestError", "code": 400}


def answer(asked: Asked) -> Reply | None:
    """Two chat templates, and no for every completion in a format."""
    if asked.path == "/tokenizer_info":
        told = {"chat_template": {"default": TEMPLATE, "tool_use": TOOL_TEMPLATE}}
        return Reply(body=json.dumps(told).encode())
    if asked.path == "/v1/completions" and "structured_outputs" in asked.body:
        event = json.dumps({"error": REFUSED})
        return Reply(body=f"data: {event}\n\ndata: [DONE]\n\n".encode())
    return None


@pytest.fixture
def client(upstream: VLLMStandIn, gateway: Gateway) -> Iterator[httpx2.Client]:
    """A client of a gateway before one that answers so."""
    upstream.script = answer
    with gateway(upstream.url).client() as client:
        yield client


def test_a_template_for_tools_beside_the_usual_one(client: httpx2.Client) -> None:
    shown = client.post("/api/show", json={"model": "m"}).json()
    assert shown["template"] == TEMPLATE
    assert shown["capabilities"] == ["completion", "tools"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "more"),
    [("/api/chat", {"format": "json"}), ("/v1/chat/completions", {"guided_regex": "("})],
)
def test_a_format_that_is_refused_once_it_is_read(
    client: httpx2.Client, path: str, more: dict[str, Any], stream: bool
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    reply = client.post(path, json=body | more)
    assert reply.status_code == 400
    assert "Grammar error: no such regex" in reply.text


THINKS = TEMPLATE + "{# image; thoughts: <think> </think> #}"
IMAGE = base64.b64encode(picture()).decode()


def answer_within_a_thought(asked: Asked) -> Reply | None:
    """The template begins the thought: a conversation ends with its mark."""
    if asked.path == "/tokenizer_info":
        return Reply(body=json.dumps({"chat_template": THINKS}).encode())
    if asked.path == "/tokenize" and "messages" in asked.body:
        tokens = tokens_of("<|im_start|>assistant\n<think>\n")
        told = {"tokens": tokens, "count": len(tokens), "max_model_len": 512}
        return Reply(body=json.dumps(told).encode())
    return None


@pytest.fixture
def thinker(upstream: VLLMStandIn, gateway: Gateway) -> Iterator[httpx2.Client]:
    """The same before one whose template begins thoughts."""
    upstream.script = answer_within_a_thought
    with gateway(upstream.url).client() as client:
        yield client


def test_with_an_image_a_thought_that_the_template_begins_is_one(thinker: httpx2.Client) -> None:
    message = {"role": "user", "content": "⟦hm</think>well⟧", "images": [IMAGE]}
    body = {"model": "m", "messages": [message], "stream": False}
    said = thinker.post("/api/chat", json=body).json()["message"]
    assert (said["thinking"], said["content"]) == ("hm", "well")


def test_with_an_image_a_format_does_not_go_on_from_what_is_given(
    upstream: VLLMStandIn, gateway: Gateway
) -> None:
    upstream.template = TEMPLATE + "{# image #}"
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "⟦x⟧", "images": [IMAGE]},
        {"role": "assistant", "content": "I see"},
    ]
    body = {"model": "m", "messages": messages, "stream": False, "format": "json"}
    with gateway(upstream.url).client() as client:
        refused = client.post("/api/chat", json=body)
    assert refused.status_code == 400 and "cannot go on" in refused.json()["error"]


def test_a_model_is_known_as_a_whole_once_it_is_ready(
    upstream: VLLMStandIn, gateway: Gateway, tmp_path: Path
) -> None:
    """What is read a little later would be another model, and no longer the loaded one."""
    folder = tmp_path / "hugging-face"
    folder.mkdir()
    config = {"model_type": "llama", "hidden_size": 8, "vocab_size": 261, "dtype": "bfloat16"}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    upstream.root = str(folder)
    with gateway(upstream.url, "--preload", "m").client() as client:
        (tag,) = client.get("/api/tags").json()["models"]
        (running,) = client.get("/api/ps").json()["models"]
    assert tag["details"]["family"] == running["details"]["family"] == "llama"
