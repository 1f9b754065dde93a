"""What Anthropic's clients may get wrong: statuses, types and words of the errors."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic.types.shared import ErrorResponse

from server.keys import digest, generate_key
from server.models.store import Store
from tests.support.sdk_models import checked
from tests.support.serving import Serving, write_gguf

ASK = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
SCHEMA = {"type": "object"}
PNG = base64.b64encode(b"\x89PNG").decode()


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": kind, **fields}]}]}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": ""}, 400, "model is required"),
        ({"messages": []}, 400, "messages is required"),
        ({"messages": None}, 400, "messages is required"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "embedder"}, 400, '"embedder" does not support chat'),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400,
         "messages[0].role must be 'user' or 'assistant'"),
        ({"messages": ["x"]}, 400, "json: cannot unmarshal string"),
        (block("audio"), 400,
         "messages[0].content[0]: blocks of type 'audio' are not supported"),
        (block("tool_use", id="a", name="b"), 400,
         "messages[0].content[0]: only role 'assistant' may have blocks of type 'tool_use'"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]}, 400,
         "messages[0].content[0]: a tool_use block needs id and name"),
        (block("tool_result", content="x"), 400,
         "messages[0].content[0].tool_use_id is required"),
        (block("tool_result", tool_use_id="a", content=[{"type": "tool_reference"}]), 400,
         "messages[0].content[0].content[0]: blocks of type 'tool_reference' are not supported"),
        (block("image", source={"type": "url", "url": "http://127.0.0.1:1/x.png"}), 400,
         "messages[0].content[0].source: an image cannot be of type 'url': nothing is fetched"),
        (block("image", source={"type": "base64", "media_type": "image/tiff", "data": ""}), 400,
         "messages[0].content[0].source.media_type must be one of image/jpeg"),
        (block("image", source={"type": "base64", "media_type": "image/png", "data": "%"}), 400,
         "illegal base64 data at input byte 0"),
        (block("image", source={"type": "base64", "media_type": "image/png", "data": PNG}), 400,
         "registry.ollama.ai/library/m:latest does not support vision"),
        (block("document", source={"type": "base64", "media_type": "application/pdf"}), 400,
         "messages[0].content[0].source: a document cannot be of type 'base64' (send its text"),
        ({"system": [{"type": "image"}]}, 400, "system[0]: only blocks of type 'text' can stand"),
        ({"tools": [{"name": "f", "input_schema": SCHEMA}]}, 400,
         "registry.ollama.ai/library/m:latest does not support tools"),
        ({"tools": [{"input_schema": SCHEMA}]}, 400, "tools[0].name is required"),
        ({"tools": [{"name": "f"}, {"name": "f"}]}, 400, "tools: the name 'f' is used twice"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 400,
         "tools[0]: this server has no tool of type 'web_search_20250305' (leave it out"),
        ({"tool_choice": {"type": "any"}}, 400, "tool_choice needs tools"),
        ({"tools": [{"name": "f"}], "tool_choice": {"type": "tool", "name": "g"}}, 400,
         "tool_choice: there is no tool 'g'"),
        ({"tool_choice": {"type": "tool"}}, 400, "tool_choice.type must be 'auto', 'any'"),
        ({"tool_choice": "auto"}, 400, "json: cannot unmarshal string"),
        ({"thinking": {"type": "hard"}}, 400, "thinking.type must be 'enabled'"),
        ({"output_config": {"effort": "most"}}, 400,
         "output_config.effort must be one of low, medium, high, xhigh, max"),
        ({"output_config": {"format": {"type": "xml"}}}, 400,
         "output_config.format must be of type 'json_schema' with a schema"),
        ({"output_format": {"type": "json_schema"}}, 400,
         "output_config.format must be of type 'json_schema' with a schema"),
        ({"keep_alive": "soon"}, 400, "time: invalid duration"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    client: httpx2.Client, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    response = client.post(path, json=ASK | body)
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    error = checked(ErrorResponse, response.json())
    assert (response.status_code, error.error.type) == (status, kind)
    assert error.error.message.startswith(message)
    assert error.request_id == response.headers["request-id"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"max_tokens": "5"}, "json: cannot unmarshal string"),
        ({"temperature": "hot"}, "json: cannot unmarshal string"),
        ({"stop_sequences": "x"}, "json: cannot unmarshal string"),
        ({"options": {"seed": "x"}}, 'option "seed" must be of type integer'),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}},
         "the fake backend knows no grammars"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_fields_of_a_message(
    client: httpx2.Client, body: dict[str, Any], message: str, stream: bool
) -> None:
    response = client.post("/v1/messages", json={**ASK, "stream": stream, **body})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "missing request body"), (b"{", "unexpected EOF"), (b"[]", "json: cannot unmarshal")],
)
def test_bodies_that_are_none(client: httpx2.Client, content: bytes, message: str) -> None:
    response = client.post("/v1/messages", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages/count_tokens", 405, "invalid_request_error"),
    ],
)
def test_unknown_paths_and_methods(
    client: httpx2.Client, method: str, path: str, status: int, kind: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"system": "x" * 300_000}, 413),
        ({"stop_sequences": ["x"] * 100}, 413),
        ({"messages": [{"role": "user"}] * 10_001, "max_tokens": 1}, 413),
        ({"tools": [{"name": f"f{number}"} for number in range(600)]}, 413),
    ],
    ids=["body", "stop sequences", "messages", "tools"],
)
def test_more_than_makes_sense(client: httpx2.Client, body: dict[str, Any], status: int) -> None:
    response = client.post("/v1/messages", json=ASK | body)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("depth", [100, 400, 900])
def test_values_nested_too_deep_to_walk_through(client: httpx2.Client, depth: int) -> None:
    nested = '{"content":[' * depth + "]}" * depth
    arguments = '{"a":' * depth + "1" + "}" * depth
    call = '{"type":"tool_use","id":"a","name":"b","input":' + arguments + "}"
    result = '{"type":"tool_result","content":' + nested + "}"
    for part in (nested, call, result):
        turn = '{"role":"assistant","content":[' + part + "]}"
        body = '{"model":"m","max_tokens":1,"messages":[' + turn + "]}"
        response = client.post("/v1/messages", content=body.encode())
        assert response.status_code in (200, 400), response.text


def test_a_model_that_cannot_be_served(client: httpx2.Client) -> None:
    response = client.post("/v1/messages", json=ASK | {"model": "cut"})
    assert (response.status_code, response.json()["error"]["type"]) == (500, "api_error")


def test_keys(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """No key, a wrong one, and one that may only read."""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    key = generate_key()
    env = {"AKASH_LLM_KEYS": f"me:read:{digest(key)}"}
    with (
        Serving(tmp_path, free_port(), args=["--models", str(tmp_path / "models")], env=env) as one,
        one.client() as client,
    ):
        for headers, status, kind in (
            ({}, 401, "authentication_error"),
            ({"x-api-key": "wrong"}, 401, "authentication_error"),
            ({"x-api-key": key}, 403, "permission_error"),
        ):
            response = client.post("/v1/messages", json=ASK, headers=headers)
            assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
            assert response.json()["request_id"] == response.headers["request-id"]
