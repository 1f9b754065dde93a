"""Keys, scopes, web pages and the log, on a real port."""

import base64
import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from server.keys import digest
from server.models.store import Store
from tests.support.serving import Serving, write_gguf
from tests.support.waiting import until

READ, INFERENCE, ADMIN = "ak-read-canary", "ak-inference-canary", "ak-admin-canary"
KEYS = ",".join(
    f"{scope}:{scope}:{digest(key)}"
    for scope, key in (("read", READ), ("inference", INFERENCE), ("admin", ADMIN))
)
CHAT = {"model": "m", "stream": False, "messages": [{"role": "user", "content": "⟦canary text⟧"}]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with three keys."""
    folder = tmp_path_factory.mktemp("guarded")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"AKASH_LLM_KEYS": KEYS, "AKASH_LLM_MODELS": str(folder / "models")}
    args = ["--origins", "https://ui.test", "--preload", "m"]
    with Serving(folder, port, env=env, args=args) as server:
        yield server


@pytest.fixture
def client(guarded: Serving) -> Iterator[httpx2.Client]:
    with guarded.client() as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready"])
@pytest.mark.parametrize("headers", [{}, bearer("wrong")])
def test_open_paths(client: httpx2.Client, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).status_code == 200


def test_the_usage_of_a_key_tells_nothing_of_what_others_said(client: httpx2.Client) -> None:
    prompt = {"role": "user", "content": "What nobody else may guess. " * 20}

    def num_cached(key: str) -> int:
        body = {"model": "m", "messages": [prompt], "max_tokens": 1}
        reply = client.post("/v1/chat/completions", json=body, headers=bearer(key)).json()
        return int(reply["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert [num_cached(ADMIN), num_cached(INFERENCE)] == [0, 0]
    assert num_cached(ADMIN) > 500


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/tags"),
        ("GET", "/api/version"),
        ("GET", "/api/ps"),
        ("POST", "/api/chat"),
        ("POST", "/api/generate"),
        ("POST", "/api/embed"),
        ("POST", "/api/embeddings"),
        ("POST", "/api/show"),
        ("GET", "/nope"),
        ("GET", "/health"),
        ("GET", "/health/live/x"),
        ("DELETE", "/api/delete"),
        ("OPTIONS", "/api/tags"),
    ],
)
def test_everything_else_needs_a_key(client: httpx2.Client, method: str, path: str) -> None:
    for headers in ({}, bearer("wrong"), {"x-api-key": "wrong"}, {"authorization": "Basic x"}):
        response = client.request(method, path, headers=headers)
        assert response.status_code == 401
        assert list(response.json()) == ["error"]
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer_and_x_api_key(client: httpx2.Client, scheme: str) -> None:
    assert client.get("/api/tags", headers={"authorization": f"{scheme} {READ}"}).is_success
    assert client.get("/api/tags", headers={"x-api-key": READ}).is_success


def test_who_has_no_key_learns_no_model_and_no_other_key(client: httpx2.Client) -> None:
    """The server of this file preloads `m`."""
    assert client.get("/health/ready").json() == {"status": "ready"}
    known = client.get("/health/ready", headers=bearer(READ)).json()
    assert known == {"status": "ready", "models": {"m": "ready"}}
    client.post("/api/chat", json=CHAT, headers=bearer(INFERENCE))
    assert 'key="inference"' not in client.get("/metrics", headers=bearer(READ)).text
    own = client.get("/metrics", headers=bearer(INFERENCE)).text
    assert 'key="inference"' in own
    # The total less one's own would be what others did.
    assert all('key="inference"' in line for line in own.splitlines() if line[0] != "#")
    assert "akash_llm_output_tokens_total{" in client.get("/metrics", headers=bearer(READ)).text
    assert 'key="inference"' in client.get("/metrics", headers=bearer(ADMIN)).text


def test_what_the_server_keeps_is_unloaded_by_an_administrator_only(client: httpx2.Client) -> None:
    end = {"model": "m", "keep_alive": 0}
    refused = client.post("/api/generate", json=end, headers=bearer(INFERENCE))
    assert refused.status_code == 403
    client.post("/api/chat", json={**CHAT, "keep_alive": 0}, headers=bearer(INFERENCE))
    (running,) = client.get("/api/ps", headers=bearer(READ)).json()["models"]
    assert running["expires_at"] > "2300"
    assert client.post("/api/generate", json=end, headers=bearer(ADMIN)).status_code == 200
    assert client.get("/api/ps", headers=bearer(READ)).json() == {"models": []}


@pytest.mark.parametrize(
    ("key", "status"), [(READ, 403), (INFERENCE, 200), (ADMIN, 200)], ids=["read", "inf", "adm"]
)
def test_scopes(client: httpx2.Client, key: str, status: int) -> None:
    assert client.get("/api/tags", headers=bearer(key)).status_code == 200
    assert client.post("/api/show", json={"model": "m"}, headers=bearer(key)).status_code == 200
    response = client.post("/api/chat", json=CHAT, headers=bearer(key))
    assert response.status_code == status
    if status == 403:
        assert "inference" in response.json()["error"]


def test_a_page_that_is_not_allowed_gets_nothing(client: httpx2.Client) -> None:
    for method in ("GET", "OPTIONS", "POST"):
        headers = {**bearer(ADMIN), "origin": "https://evil.test"}
        response = client.request(method, "/api/tags", headers=headers)
        assert (response.status_code, response.content) == (403, b"")


def test_a_name_that_is_not_ours_gets_nothing(client: httpx2.Client) -> None:
    response = client.get("/api/tags", headers={**bearer(ADMIN), "host": "evil.test:11434"})
    assert (response.status_code, response.content) == (403, b"")


def test_a_page_that_is_allowed(client: httpx2.Client) -> None:
    origin = {"origin": "https://ui.test"}
    preflight = client.options("/api/chat", headers=origin)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    response = client.get("/api/tags", headers={**origin, **bearer(READ)})
    assert response.headers["access-control-allow-origin"] == "https://ui.test"
    refused = client.get("/api/tags", headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://ui.test"


def test_a_preflight_allows_what_the_clients_send(client: httpx2.Client) -> None:
    """Those of OpenAI and Anthropic run in browsers, too; no key is needed to ask."""
    wanted = [
        "authorization",
        "x-api-key",
        "content-type",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "openai-beta",
        "x-stainless-os",
        "x-stainless-read-timeout",
        "x-stainless-new-in-some-release",
    ]
    headers = {
        "origin": "app://desk",
        "access-control-request-method": "POST",
        "access-control-request-headers": ",".join([*wanted, "x-evil", "x-stainless-a\tb"]),
    }
    preflight = client.options("/v1/messages", headers=headers)
    assert preflight.status_code == 204
    allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
    assert set(wanted) <= set(allowed) and len(allowed) == len(set(allowed))
    assert not [name for name in allowed if "evil" in name or "\t" in name]


def test_a_page_may_read_what_tells_it_when_to_come_again(client: httpx2.Client) -> None:
    reply = client.get("/api/tags", headers={"origin": "https://ui.test"})
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert {"retry-after", "x-request-id", "x-truncated-tokens", "x-num-ctx"} <= set(exposed)
    assert "x-ratelimit-remaining-requests" in exposed


def test_request_ids(client: httpx2.Client) -> None:
    mine = client.get("/", headers={"x-request-id": "abc-1"})
    assert mine.headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 65, '"'):
        assert client.get("/", headers={"x-request-id": odd}).headers["x-request-id"] != odd


def test_the_log_is_json_without_prompts_and_keys(guarded: Serving, client: httpx2.Client) -> None:
    headers = {**bearer(INFERENCE), "x-request-id": "find-me"}
    client.post("/api/chat?key=canary", json=CHAT, headers=headers)
    client.post("/api/chat", json={**CHAT, "options": {"canard": "canary"}}, headers=headers)
    client.post("/api/chat", content=b'{"canary', headers=headers)
    client.get("/api/tags", headers=bearer("canary"))
    for body in secret_bodies():
        for path in ("/api/chat", "/api/generate", "/api/embed"):
            client.post(path, json=body, headers=bearer(INFERENCE))
            client.post(path, json=body, headers=bearer(READ))
    client.post("/api/chat", content=gzip.compress(b"canary"), headers=headers)
    packed = {**headers, "content-encoding": "gzip"}
    client.post("/api/chat", content=b"canary", headers=packed)
    told = client.get("/metrics", headers=bearer(ADMIN)).text
    text = guarded.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert any("canard" in line["message"] for line in lines)
    assert "canary" not in text and "canary" not in told
    assert CANARY not in text and CANARY not in told


CANARY = base64.b64encode(b"a canary in an image").decode()


def secret_bodies() -> list[dict[str, Any]]:
    """Good and bad requests with a canary wherever a user's text may stand."""
    function = {"name": "canary", "arguments": {"canary": "canary"}}
    tool = {"type": "function", "function": {"name": "canary", "description": "canary"}}
    message = {"role": "user", "content": "⟦canary⟧", "thinking": "canary"}
    return [
        {
            "model": "m",
            "stream": False,
            "prompt": "⟦canary⟧",
            "input": "canary",
            "system": "canary",
        },
        {"model": "m", "prompt": "x", "images": [CANARY], "messages": [{"images": [CANARY]}]},
        {"model": "m", "messages": [{**message, "tool_calls": [{"function": function}]}]},
        {"model": "m", "messages": [message], "tools": [tool], "stream": False},
        {"model": "m", "messages": [message], "format": {"type": "canary"}},
        {"model": "m", "messages": [message], "format": "canary", "prompt": "canary"},
        {"model": "m", "messages": "canary", "prompt": ["canary"], "input": {"canary": 1}},
        {"model": "m", "messages": [message], "think": "canary", "keep_alive": "canary"},
        {"model": "m", "options": {"stop": ["canary"], "num_predict": "canary"}, "prompt": "x"},
        {"model": "m", "prompt": "canary", "template": "canary", "context": ["canary"]},
    ]


def test_one_line_says_how_a_request_went(guarded: Serving, client: httpx2.Client) -> None:
    headers = {**bearer(INFERENCE), "x-request-id": "went-well"}
    client.post("/api/chat", json=CHAT, headers=headers)
    headers["x-request-id"] = "went-wrong"
    client.post("/api/chat", json={**CHAT, "model": "nope"}, headers=headers)
    # A line is written when its answer has gone out.
    until(lambda: "went-wrong" in guarded.log.read_text())
    lines = [json.loads(line) for line in guarded.log.read_text().splitlines()]
    (well,) = [line for line in lines if line.get("request_id") == "went-well"]
    (wrong,) = [line for line in lines if line.get("request_id") == "went-wrong"]
    assert (well["method"], well["path"], well["status"]) == ("POST", "/api/chat", 200)
    assert (well["key"], well["model"], well["end"]) == ("inference", "m:latest", "stop")
    assert well["output_tokens"] == len("canary text") + 1 and well["prompt_tokens"] > 20
    assert 0 < well["ttft_ms"] <= well["duration_ms"]
    assert (wrong["status"], wrong["end"]) == (404, "model_not_found")
    assert "model" not in wrong and "ttft_ms" not in wrong
