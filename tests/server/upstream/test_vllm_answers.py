"""Answers of a vLLM that only the real one showed, through the front door."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.serving import Serving
from tests.support.tool_template import TOOL_TEMPLATE
from tests.support.vllm_stand_in import TEMPLATE, Asked, Reply, VLLMStandIn

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
def client(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[httpx2.Client]:
    with VLLMStandIn() as upstream:
        upstream.script = answer
        args = ["--engine", "vllm", "--upstream", upstream.url, "--preload", "m"]
        with (
            Serving(tmp_path, free_port(), args=args, fake=False) as server,
            server.client() as client,
        ):
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
