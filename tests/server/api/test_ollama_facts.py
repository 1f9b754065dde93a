"""What Ollama's server answers, as a table: the status and the words of every refusal, and of
the routes that are or are not there.

The rows go by the parts of its API: 1 routes, 2 decoding, 4 generate, 5 options, 6 keep_alive,
7 format, 8 thinking, 9 chat, 10 embeddings, 11 models, 15 names, 20 web pages. Where a row is
not Ollama's, the README's table of differences has it.
"""

from typing import Any

import httpx2
import pytest

TOOL = {"type": "function", "function": {"name": "f"}}
SAID = [{"role": "user", "content": "⟦ab⟧"}]
IMAGE = [{"role": "user", "content": "x", "images": ["aGk="]}]
NO_DIGEST = f"sha256:{'0' * 64}"
THINK_LEVELS = '"high", "medium", "low", "max", true, or false'
PLAIN = "registry.ollama.ai/library/plain:latest"
Body = dict[str, Any]

ROUTES = [
    ("GET", "/", 200),
    ("GET", "/api/version", 200),
    ("GET", "/api/tags", 200),
    ("GET", "/api/tags/", 200),
    ("GET", "/api/ps", 200),
    ("GET", "/v1/models", 200),
    ("GET", "/v1/models/m", 200),
    ("HEAD", "/", 200),
    ("HEAD", "/api/version", 200),
    ("HEAD", "/api/tags", 200),
    ("HEAD", "/api/ps", 405),
    ("HEAD", "/api/generate", 405),
    ("HEAD", "/nope", 404),
    ("GET", "/api", 404),
    ("GET", "/health", 404),
    ("GET", "/api/tokenize", 404),
    ("GET", "/api/status", 404),
    ("POST", "/api/push", 404),
    ("POST", "/api/me", 404),
    ("POST", "/api/signout", 404),
    ("DELETE", "/api/user/keys/x", 404),
    ("POST", "/api/web_search", 404),
    ("POST", "/api/experimental/web_search", 404),
    ("POST", "/api/experimental/web_fetch", 404),
    ("GET", "/api/experimental/model-recommendations", 404),
    ("POST", "/v1/audio/transcriptions", 404),
    ("POST", "/v1/audio/speech", 404),
    ("POST", "/v1/images/generations", 404),
    ("POST", "/v1/moderations", 404),
    ("POST", "/v1/systemone", 404),
    ("GET", f"/api/blobs/{NO_DIGEST}", 405),
    ("POST", "/api/delete", 405),
    ("GET", "/api/show", 405),
    ("DELETE", "/api/copy", 405),
    ("GET", "/api/pull", 405),
    ("GET", "/v1/responses", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), ROUTES, ids=lambda value: f"1 {value}")
def test_routes(teller: httpx2.Client, method: str, path: str, status: int) -> None:
    response = teller.request(method, path, headers={"authorization": "Bearer nobody"})
    assert response.status_code == status
    kind = response.headers["content-type"]
    if method == "HEAD" or status == 200:
        return
    if path.startswith("/v1/"):
        assert kind.startswith("application/json") and list(response.json()) == ["error"]
    else:
        words = {404: "404 page not found", 405: "405 method not allowed"}
        assert (kind, response.text) == ("text/plain; charset=utf-8", words[status])


BODIES: list[tuple[str, bytes, int, str]] = [
    ("/api/generate", b"null", 404, "model '' not found"),
    ("/api/chat", b"null", 400, "model is required"),
    ("/api/chat", b"[]", 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
    ("/api/chat", b'"x"', 400,
     "json: cannot unmarshal string into Go value of type api.ChatRequest"),
    ("/api/chat", b"}", 400, "invalid character '}' looking for beginning of value"),
    ("/api/chat", b'{"a":1,}', 400,
     "invalid character '}' looking for beginning of object key string"),
    ("/api/chat", b'{"model":"m","model":"nope","messages":[{}]}', 404, "model 'nope' not found"),
    ("/api/chat", b'{"MODEL":"nope","unknown":{}}', 404, "model 'nope' not found"),
    ("/api/chat", b'{"model":"nope"} and more', 404, "model 'nope' not found"),
    ("/api/pull", b"", 400, "missing request body"),
    ("/api/create", b"", 400, "missing request body"),
    ("/api/copy", b"", 400, "missing request body"),
    ("/api/pull", b'{"model":3}', 400,
     "json: cannot unmarshal number into Go struct field PullRequest.model of type string"),
    ("/api/create", b'{"files":[]}', 400,
     "json: cannot unmarshal array into Go struct field CreateRequest.files of type "
     "map[string]string"),
    ("/api/chat", b'{"messages":"hi"}', 400,
     "json: cannot unmarshal string into Go struct field ChatRequest.messages of type "
     "[]api.Message"),
    ("/api/chat", b'{"messages":[3]}', 400,
     "json: cannot unmarshal number into Go struct field ChatRequest.messages of type api.Message"),
    ("/api/chat", b'{"messages":[{"images":"x"}]}', 400,
     "json: cannot unmarshal string into Go struct field ChatRequest.messages.images of type "
     "[]string"),
    ("/api/chat", b'{"options":3}', 400,
     "json: cannot unmarshal number into Go struct field ChatRequest.options of type "
     "map[string]interface {}"),
    ("/api/generate", b'{"context":["a"]}', 400,
     "json: cannot unmarshal string into Go struct field GenerateRequest.context of type int"),
    ("/api/generate", b'{"context":3}', 400,
     "json: cannot unmarshal number into Go struct field GenerateRequest.context of type []int"),
    ("/api/generate", b'{"prompt":3}', 400,
     "json: cannot unmarshal number into Go struct field GenerateRequest.prompt of type string"),
    ("/api/copy", b'{"source":{}}', 400,
     "json: cannot unmarshal object into Go struct field CopyRequest.source of type string"),
    ("/api/generate", b'{"images":["data:image/png;base64,aGk="],"model":"plain","prompt":"x"}',
     400, f"{PLAIN} does not support vision"),
    ("/api/chat", b'{"model":"m","messages":[{"images":["data:image/png;base64,aGk="]}]}', 400,
     "illegal base64 data at input byte 4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "error"), BODIES, ids=[f"2 {row[0]} {row[1]!r}" for row in BODIES]
)
def test_bodies(teller: httpx2.Client, path: str, body: bytes, status: int, error: str) -> None:
    response = teller.post(path, content=body)
    assert (response.status_code, response.json()) == (status, {"error": error})
    assert response.headers["content-type"] == "application/json; charset=utf-8"


REFUSALS: list[tuple[str, str, Body, int, str]] = [
    ("4", "/api/generate", {"prompt": "x"}, 404, "model '' not found"),
    ("4", "/api/generate", {"model": "nope", "top_logprobs": 21}, 400,
     "top_logprobs must be between 0 and 20"),
    ("4", "/api/generate", {"model": "m", "prompt": "x", "raw": True, "system": "s"}, 400,
     "raw mode does not support template, system, or context"),
    ("4", "/api/generate", {"model": "plain", "suffix": "x"}, 400,
     f"{PLAIN} does not support insert"),
    ("4", "/api/generate", {"model": "embedder"}, 400, '"embedder" does not support generate'),
    ("5", "/api/generate", {"model": "nope", "prompt": "x", "options": {"seed": "x"}}, 404,
     "model 'nope' not found"),
    ("5", "/api/generate", {"model": "m", "options": {"num_ctx": "x"}}, 400,
     'option "num_ctx" must be of type integer'),
    ("5", "/api/chat", {"model": "m", "messages": SAID, "options": {"stop": "x"}}, 400,
     'option "stop" must be of type array'),
    ("5", "/api/chat", {"model": "m", "messages": SAID, "options": {"stop": [1]}}, 400,
     'option "stop" must be of an array of strings'),
    *(
        ("6", path, {"model": "nope", "keep_alive": value}, 400, error)
        for path in ("/api/generate", "/api/chat", "/api/embed", "/api/embeddings")
        for value, error in [
            ("300", 'time: missing unit in duration "300"'),
            ("-1", 'time: missing unit in duration "-1"'),
            ("", 'time: invalid duration ""'),
            (True, "Unsupported type: 'bool'"),
            ([], "Unsupported type: '[]interface {}'"),
            ({}, "Unsupported type: 'map[string]interface {}'"),
        ]
    ),
    *(
        ("7", "/api/chat", {"model": "m", "messages": SAID, "format": value}, 400,
         f'invalid format: {shown}; expected "json" or a valid JSON Schema object')
        for value, shown in [("xml", '"xml"'), ("JSON", '"JSON"'), (3, "3"), (True, "true"),
                             ([], "[]")]
    ),
    *(
        ("8", path, {"model": "nope", "think": value}, 400, error)
        for path in ("/api/generate", "/api/chat")
        for value, error in [
            ("x", f'invalid think value: "x" (must be {THINK_LEVELS})'),
            ("", f'invalid think value: "" (must be {THINK_LEVELS})'),
            ("HIGH", f'invalid think value: "HIGH" (must be {THINK_LEVELS})'),
            (1, f"think must be a boolean or string ({THINK_LEVELS})"),
            ([], f"think must be a boolean or string ({THINK_LEVELS})"),
        ]
    ),
    *(
        ("8", path, {"model": "Plain", "think": value, "prompt": "x", "messages": SAID}, 400,
         '"Plain" does not support thinking')
        for path in ("/api/generate", "/api/chat")
        for value in (True, "low", "max")
    ),
    ("9", "/api/chat", {}, 400, "model is required"),
    ("9", "/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
    ("9", "/api/chat", {"model": "embedder", "messages": SAID}, 400,
     '"embedder" does not support chat'),
    ("9", "/api/chat", {"model": "plain", "messages": SAID, "tools": [TOOL]}, 400,
     f"{PLAIN} does not support tools"),
    ("9", "/api/chat", {"model": "plain", "messages": IMAGE, "tools": [TOOL]}, 400,
     f"{PLAIN} does not support tools\nvision"),
    ("10", "/api/embed", {"model": "nope", "input": 3}, 400, "invalid input type"),
    ("10", "/api/embed", {"input": "x"}, 404, "model '' not found"),
    ("10", "/api/embed", {"model": "a:b", "input": "x"}, 404,
     'model "a:b" not found, try pulling it first'),
    ("10", "/api/embed", {"model": "m", "input": "x" * 3000, "truncate": False}, 400,
     "the input length exceeds the context length"),
    ("10", "/api/embeddings", {"prompt": "x"}, 400, "model is required"),
    ("10", "/api/embeddings", {"model": "nope"}, 404,
     'model "nope" not found, try pulling it first'),
    ("11", "/api/show", {}, 400, "model is required"),
    ("11", "/api/show", {"name": "nope"}, 404, "model 'nope' not found"),
    ("11", "/api/copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
    ("11", "/api/copy", {"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
    ("11", "/api/copy", {"source": "m", "destination": "a b"}, 400,
     'destination "a b" is invalid'),
    ("11", "/api/copy", {"source": "m"}, 400, 'destination "" is invalid'),
    ("11", "/api/create", {}, 400, "model is required"),
    ("11", "/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
    ("11", "/api/create", {"model": "x", "modelfile": "FROM m"}, 400,
     "neither 'from' or 'files' was specified"),
    ("11", "/api/create", {"model": "x", "files": {"../y": NO_DIGEST}}, 400,
     "file path must be relative"),
    ("11", "/api/create", {"model": "a b", "from": "m"}, 400, "invalid model name"),
    ("11", "/api/pull", {"model": "a b"}, 400, "invalid model name"),
    ("11", "/api/pull", {}, 400, "model is required"),
    ("11", "/api/pull", {"model": "evil.test/a/b"}, 403,
     "models may not be pulled from evil.test"),
    ("11", "/api/blobs/sha256:x", {}, 400, "invalid digest format"),
    ("11", f"/api/blobs/{NO_DIGEST}", {}, 400, f'digest mismatch, expected "{NO_DIGEST}", got "'
     'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"'),
    *(
        ("15", path, {"model": "a b", "input": "x"}, 400, 'name "a b" is invalid')
        for path in ("/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show")
    ),
    ("15", "/api/chat", {"model": "m:cloud"}, 404, "model 'm:cloud' not found"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [row[1:] for row in REFUSALS],
    ids=[f"{row[0]} {row[1]} {row[4]}" for row in REFUSALS],
)
def test_refusals(teller: httpx2.Client, path: str, body: Body, status: int, error: str) -> None:
    """Streamed or not makes no difference: nothing has been sent yet. The next step may stand
    in brackets behind Ollama's words."""
    for more in ({}, {"stream": False}):
        response = teller.post(path, json=body if "blobs" in path else {**body, **more})
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        assert list(response.json()) == ["error"]
        hint = response.headers.get("x-error-hint")
        assert response.json()["error"] in (error, f"{error} ({hint})")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, 'name "" is invalid'),
        ({"model": "a b"}, 400, 'name "a b" is invalid'),
        ({"name": "nope"}, 404, "model 'nope' not found"),
    ],
    ids=lambda value: f"11 {value}",
)
def test_deleting_what_is_not_there(
    teller: httpx2.Client, body: Body, status: int, error: str
) -> None:
    response = teller.request("DELETE", "/api/delete", json=body)
    assert (response.status_code, response.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    "name",
    ["m", "M:LATEST", " m ", "library/m", "registry.ollama.ai/library/m", "http://registry.ollama.ai/library/m:latest"],
    ids=lambda value: f"15 {value}",
)  # fmt: skip
def test_names_are_echoed_as_they_were_sent(teller: httpx2.Client, name: str) -> None:
    reply = teller.post("/api/generate", json={"model": name}).json()
    assert (reply["model"], reply["done_reason"]) == (name, "load")


ORIGINS = [
    ("http://localhost", True),
    ("https://localhost:8443", True),
    ("http://127.0.0.1:5173", True),
    ("http://0.0.0.0", True),
    ("app://obsidian.md", True),
    ("file://x", True),
    ("tauri://localhost", True),
    ("vscode-webview://x", True),
    ("vscode-file://vscode-app", True),
    ("chrome-extension://x", True),
    ("moz-extension://x", True),
    ("safari-web-extension://x", True),
    ("https://example.org", False),
    ("null", False),
]


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS, ids=lambda value: f"20 {value}")
def test_web_pages(teller: httpx2.Client, origin: str, allowed: bool) -> None:
    asked = {"access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, x-stainless-retry-count"
    before = teller.options("/api/chat", headers={"origin": origin, **asked})
    reply = teller.get("/api/version", headers={"origin": origin})
    if not allowed:
        assert [(r.status_code, r.content) for r in (before, reply)] == [(403, b"")] * 2
        return
    assert (before.status_code, before.content, reply.status_code) == (204, b"", 200)
    assert reply.headers["access-control-allow-origin"] == origin
    headers = before.headers["access-control-allow-headers"].lower().split(", ")
    wanted = "authorization content-type user-agent accept x-requested-with openai-beta"
    assert {*wanted.split(), "x-stainless-retry-count"} <= {*headers}


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.test", 403), ("8.8.8.8", 403), ("llm.internal", 200), ("192.168.1.2:11434", 200)],
    ids=lambda value: f"20 {value}",
)
def test_the_host_of_a_request(teller: httpx2.Client, host: str, status: int) -> None:
    response = teller.get("/api/version", headers={"host": host})
    assert response.status_code == status
    assert status == 200 or response.content == b""
