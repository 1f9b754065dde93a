"""Mistakes of clients: each ends in one clear message with the right status."""

from typing import Any

import httpx2
import pytest

BODIES = [
    (b"", "missing request body"),
    (b"  \n", "missing request body"),
    (b"x", "invalid character 'x' looking for beginning of value"),
    (b'{"model":', "unexpected EOF"),
    (b'{"model":"m"', "unexpected EOF"),
    (b'{"model":"m', "unexpected EOF"),
    (b"{,}", "invalid character ',' looking for beginning of object key string"),
    (b'{"model" "m"}', "invalid character '\"' after object key"),
    (b'{"model":NaN}', "invalid character 'N' looking for beginning of value"),
    (b"[" * 100_000, "exceeded max depth"),
    (b"9" * 100_000, "json: cannot unmarshal number: it has too many digits"),
]
PATHS = ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "error"), BODIES, ids=lambda value: repr(value)[:30])
def test_broken_json(client: httpx2.Client, path: str, body: bytes, error: str) -> None:
    response = client.post(path, content=body)
    assert response.status_code == 400
    assert response.json() == {"error": error}


@pytest.mark.parametrize(
    ("path", "body", "field", "kind"),
    [
        ("/api/generate", {"prompt": 3}, "GenerateRequest.prompt", "number"),
        ("/api/generate", {"stream": "yes"}, "GenerateRequest.stream", "string"),
        ("/api/generate", {"options": []}, "GenerateRequest.options", "array"),
        ("/api/generate", {"context": ["a"]}, "GenerateRequest.context", "string"),
        ("/api/generate", {"context": [1.5]}, "GenerateRequest.context", "number"),
        ("/api/chat", {"messages": "hi"}, "ChatRequest.messages", "string"),
        (
            "/api/chat",
            {"messages": [{"content": [{"type": "text"}]}]},
            "ChatRequest.messages.content",
            "array",
        ),
        ("/api/embed", {"dimensions": "8"}, "EmbedRequest.dimensions", "string"),
        ("/api/embed", {"truncate": 1}, "EmbedRequest.truncate", "number"),
        ("/api/embeddings", {"prompt": ["x"]}, "EmbeddingRequest.prompt", "array"),
        ("/api/show", {"verbose": 1}, "ShowRequest.verbose", "number"),
    ],
)
def test_wrong_types(
    client: httpx2.Client, path: str, body: dict[str, Any], field: str, kind: str
) -> None:
    response = client.post(path, json={"model": "m", **body})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.startswith(f"json: cannot unmarshal {kind} into Go struct field {field} of type ")


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/generate", {}, 404, "model '' not found"),
        ("/api/generate", {"model": ""}, 404, "model '' not found"),
        ("/api/generate", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/chat", {}, 400, "model is required"),
        ("/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/show", {}, 400, "model is required"),
        ("/api/show", {"name": "nope:1b"}, 404, "model 'nope:1b' not found"),
        ("/api/generate", {"model": "embedder", "prompt": "x"}, 400,
         '"embedder" does not support generate'),
        ("/api/chat", {"model": "embedder", "messages": [{}]}, 400,
         '"embedder" does not support chat'),
        ("/api/generate", {"model": "m", "prompt": "a", "suffix": "b"}, 400,
         "registry.ollama.ai/library/m:latest does not support insert"),
        ("/api/generate", {"model": "m", "prompt": "a", "images": ["aGk="]}, 400,
         "registry.ollama.ai/library/m:latest does not support vision"),
        ("/api/chat", {"model": "m", "messages": [{"role": "user", "images": ["aGk="]}]}, 400,
         "registry.ollama.ai/library/m:latest does not support vision"),
        ("/api/chat", {"model": "m", "messages": [{"role": "user", "images": ["data:x"]}]}, 400,
         "illegal base64 data at input byte 4"),
        ("/api/chat", {"model": "m", "tools": [{}], "messages": [{}]}, 400,
         "registry.ollama.ai/library/m:latest does not support tools"),
        ("/api/chat", {"model": "m", "think": True, "messages": [{}]}, 400,
         '"m" does not support thinking'),
        ("/api/chat", {"model": "m", "think": "low", "messages": [{}]}, 400,
         '"m" does not support thinking'),
        ("/api/chat", {"model": "nope", "think": "hard"}, 400,
         'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)'),
        ("/api/chat", {"model": "nope", "think": 1}, 400,
         'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ("/api/generate", {"model": "m", "prompt": "x", "format": "xml"}, 400,
         'invalid format: "xml"; expected "json" or a valid JSON Schema object'),
        ("/api/generate", {"model": "m", "prompt": "x", "format": [1]}, 400,
         'invalid format: [1]; expected "json" or a valid JSON Schema object'),
        ("/api/generate", {"model": "m", "prompt": "x", "context": [99999]}, 400,
         "context: token 99999 is not in the model's vocabulary"),
        ("/api/generate", {"model": "nope", "prompt": "x", "options": {"seed": "x"}}, 404,
         "model 'nope' not found"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(
    client: httpx2.Client, path: str, body: dict[str, Any], status: int, error: str
) -> None:
    response = client.post(path, json=body)
    assert (response.status_code, response.json()) == (status, {"error": error})


def test_thinking_off_is_fine_on_a_model_that_does_not_think(client: httpx2.Client) -> None:
    body = {"model": "m", "think": False, "stream": False, "messages": [{"content": "⟦x⟧"}]}
    assert client.post("/api/chat", json=body).status_code == 200


def test_a_name_that_is_none(client: httpx2.Client) -> None:
    for name in ("../../etc/passwd", "a b", "/etc", "a//b"):
        response = client.post("/api/chat", json={"model": name})
        assert response.status_code == 400
        assert "is invalid" in response.json()["error"]


def test_a_name_that_is_too_long_for_the_disk(client: httpx2.Client) -> None:
    name = "h" * 300 + "/n/m"
    response = client.post("/api/show", json={"model": name})
    assert (response.status_code, response.json()) == (404, {"error": f"model '{name}' not found"})


def test_a_template_in_the_request_is_refused_with_a_way_out(client: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "x", "template": "{{ .Prompt }}"}
    response = client.post("/api/generate", json=body)
    assert response.status_code == 400
    assert "template" in response.json()["error"] and "raw" in response.json()["error"]


def test_a_model_that_is_cut_short_says_so(client: httpx2.Client) -> None:
    response = client.post("/api/chat", json={"model": "cut", "messages": [{"content": "x"}]})
    assert response.status_code == 500
    assert "cut" in response.json()["error"]
    (listed,) = [m for m in client.get("/api/tags").json()["models"] if m["name"] == "cut:latest"]
    assert listed["problem"] and "capabilities" not in listed


def test_a_model_with_a_parameter_that_makes_no_sense(client: httpx2.Client) -> None:
    response = client.post("/api/chat", json={"model": "odd", "messages": [{"content": "x"}]})
    assert response.status_code == 500
    assert "num_ctx" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/nope", 404, "404 page not found"),
        ("GET", "/api/chat", 405, "405 method not allowed"),
        ("POST", "/api/tags", 405, "405 method not allowed"),
        ("DELETE", "/", 405, "405 method not allowed"),
    ],
)
def test_unknown_paths_and_methods(
    client: httpx2.Client, method: str, path: str, status: int, text: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.text) == (status, text)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_body_that_is_too_large(client: httpx2.Client) -> None:
    response = client.post("/api/generate", json={"model": "m", "prompt": "x" * 300_000})
    assert response.status_code == 413
    assert list(response.json()) == ["error"]


def test_a_body_that_is_too_large_and_does_not_say_how_large(client: httpx2.Client) -> None:
    pieces = (b" " * 10_000 for _ in range(40))
    response = client.post("/api/generate", content=pieces)
    assert response.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{}] * 10_001},
        {"messages": [{}], "options": {"stop": ["x"] * 100}},
        {"messages": [{}], "options": {"stop": ["x" * 2000]}},
        {"messages": [{}], "options": {str(number): 1 for number in range(300)}},
    ],
    ids=["messages", "stop strings", "long stop string", "options"],
)
def test_more_than_makes_sense(client: httpx2.Client, body: dict[str, Any]) -> None:
    response = client.post("/api/chat", json={"model": "m", **body})
    assert response.status_code == 413


def test_a_schema_nested_too_deep(client: httpx2.Client) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(100):
        schema = {"type": "object", "properties": {"a": schema}}
    body = {"model": "m", "messages": [{"content": "x"}], "format": schema}
    response = client.post("/api/chat", json=body)
    assert response.status_code == 400 and "deep" in response.json()["error"]


@pytest.mark.parametrize("depth", [100, 400, 600, 800])
@pytest.mark.parametrize("rest", [b"", b" and more"])
def test_values_nested_too_deep_to_walk_through(
    client: httpx2.Client, depth: int, rest: bytes
) -> None:
    nested = b"[" * depth + b"]" * depth
    call = b'{"model":"m","messages":[{"content":"x","tool_calls":[{"a":%s}]}]}' % nested
    ignored = b'{"model":"m","zz":%s}' % nested
    for body in (call, ignored):
        response = client.post("/api/chat", content=body + rest)
        assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", "a/b;c"])
def test_any_content_type_will_do(client: httpx2.Client, kind: str) -> None:
    response = client.post(
        "/api/show", content=b'{"MODEL":"m"} and more', headers={"content-type": kind}
    )
    assert response.status_code == 200


def test_null_is_as_good_as_nothing(client: httpx2.Client) -> None:
    body = {"model": "m", "stream": None, "options": None, "messages": None, "format": None}
    assert client.post("/api/chat", json=body).json()["done_reason"] == "load"


def test_broken_utf_8_and_half_surrogates_are_replaced(client: httpx2.Client) -> None:
    body = b'{"model":"m","stream":false,"prompt":"\xe2\x9f\xa6a\xff\\ud800\xe2\x9f\xa7"}'
    response = client.post("/api/generate", content=body)
    assert response.json()["response"] == "a\ufffd\ufffd"
