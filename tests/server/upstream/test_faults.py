"""What goes wrong in the server behind a gateway: one clear error in each dialect, and the next
request works."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.keys import digest
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.upstream_stand_in import Asked, Reply
from tests.support.vllm_stand_in import VLLMStandIn
from tests.support.waiting import until

Ask = Callable[[httpx2.Client, str], httpx2.Response]


def ollama(client: httpx2.Client, prompt: str = "⟦four⟧") -> httpx2.Response:
    return client.post("/api/generate", json={"model": "m", "prompt": prompt, "stream": False})


def openai(client: httpx2.Client, prompt: str = "⟦four⟧") -> httpx2.Response:
    messages = [{"role": "user", "content": prompt}]
    return client.post("/v1/chat/completions", json={"model": "m", "messages": messages})


def anthropic(client: httpx2.Client, prompt: str = "⟦four⟧") -> httpx2.Response:
    messages = [{"role": "user", "content": prompt}]
    return client.post("/v1/messages", json={"model": "m", "messages": messages, "max_tokens": 9})


def message_of(reply: httpx2.Response) -> str:
    """What a dialect says went wrong."""
    error = reply.json()["error"]
    said: str = error["message"] if isinstance(error, dict) else error
    return said


EVERY = pytest.mark.parametrize("ask", [ollama, openai, anthropic])


def on(path: str, reply: Callable[[], Reply]) -> Callable[[Asked], Reply | None]:
    """A script that answers one path."""
    return lambda asked: reply() if asked.path == path else None


def said(*lines: bytes, cut: bool = False) -> Callable[[], Reply]:
    async def spoken() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    return lambda: Reply(lines=spoken(), cut=cut)


TOKEN = b'data: {"choices": [{"text": "f", "token_ids": [102], "prompt_token_ids": [7]}]}\n\n'


@EVERY
@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        (lambda: Reply(500, b'{"error": {"message": "out of memory"}}'), 502, "out of memory"),
        (lambda: Reply(503, b"busy"), 503, "vLLM is not ready"),
        (lambda: Reply(429, b'{"detail": "slow down"}'), 503, "not ready: slow down"),
        (lambda: Reply(401, b'{"error": "Unauthorized"}'), 502, "AKASH_LLM_UPSTREAM_KEY"),
        (lambda: Reply(400, b'{"message": "top_k is odd"}'), 400, "top_k is odd"),
        (lambda: Reply(404, b'{"detail": "no such model"}'), 404, "no such model"),
        (said(b"data: {nonsense\n\n"), 502, "cannot be read"),
        (said(b'data: {"choices": 7}\n\n'), 502, "cannot be read"),
        (said(), 502, "broke off"),
        (said(b"", cut=True), 502, "broke off"),
        (said(b"data: [DONE]\n\n"), 502, "broke off"),
        (said(b'data: {"error": {"message": "engine died"}}\n\n'), 502, "engine died"),
        (lambda: Reply(200, b"<html>", cut=True), 502, "broke off"),
    ],
)
def test_before_the_first_token(
    shared: httpx2.Client,
    shared_upstream: VLLMStandIn,
    ask: Ask,
    reply: Callable[[], Reply],
    status: int,
    text: str,
) -> None:
    shared_upstream.script = on("/v1/completions", reply)
    try:
        refused = ask(shared, "⟦x⟧")
    finally:
        shared_upstream.script = lambda asked: None
    assert refused.status_code == status
    assert text in message_of(refused)
    assert ask(shared, "⟦four⟧").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "marker"),
    [
        ("/api/generate", {"prompt": "⟦x⟧"}, '"error":"vLLM broke off its answer"'),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x"}], "stream": True},
            '"code":"upstream_failed"',
        ),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 9},
            "event: error",
        ),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_in_the_middle_of_a_stream(
    shared: httpx2.Client,
    shared_upstream: VLLMStandIn,
    path: str,
    body: dict[str, Any],
    marker: str,
    cut: bool,
) -> None:
    shared_upstream.script = on("/v1/completions", said(TOKEN, cut=cut))
    try:
        reply = shared.post(path, json={"model": "m"} | body)
    finally:
        shared_upstream.script = lambda asked: None
    assert reply.status_code == 200
    assert '"f"' in reply.text and marker in reply.text


def test_what_came_before_it_broke_is_counted(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    with gateway(upstream.url, "--preload", "m").client() as client:
        upstream.script = on("/v1/completions", said(TOKEN, cut=True))
        assert ollama(client).status_code == 502
        text = client.get("/metrics").text
    of_this = 'total{key="",model="m:latest"} 1.0'
    assert f"akash_llm_key_prompt_tokens_{of_this}" in text
    assert f"akash_llm_key_output_tokens_{of_this}" in text


def test_a_wrong_address_is_red_and_says_so(tmp_path: Path) -> None:
    command = ["--engine", "vllm", "--upstream", f"http://127.0.0.1:{free_port()}"]
    serving = Serving(tmp_path, free_port(), args=[*command, "--preload", "m"], fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: is_live(client))
            ready = client.get("/health/ready")
            assert ready.status_code == 503
            assert "cannot be reached" in ready.json()["reason"]
            for ask in (ollama, openai, anthropic):
                refused = ask(client)
                assert refused.status_code == 503
                assert "vLLM cannot be reached" in message_of(refused)
    finally:
        serving.end()


def is_live(client: httpx2.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx2.TransportError:  # it does not listen yet
        return False


def test_it_goes_away_and_comes_back(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    serving = gateway(upstream.url, "--preload", "m")
    with serving.client() as client:
        assert ollama(client).json()["response"] == "four"
        upstream.end()
        for ask in (ollama, openai, anthropic):
            refused = ask(client)
            assert refused.status_code == 503 and "retry-after" in refused.headers
            assert "vLLM cannot be reached" in message_of(refused)
        until(lambda: client.get("/health/ready").status_code == 503)
        ready = client.get("/health/ready").json()
        assert ready["status"] == "failed" and "cannot be reached" in ready["reason"]
        assert client.get("/health/live").status_code == 200
        assert "akash_llm_upstream_up 0" in client.get("/metrics").text
        upstream.start()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert ollama(client).json()["response"] == "four"


def test_over_a_socket_it_goes_away_and_comes_back(
    socket_path: Path, gateway: Callable[..., Serving]
) -> None:
    with (
        VLLMStandIn(socket=str(socket_path)) as upstream,
        gateway(upstream.url, "--preload", "m").client() as client,
    ):
        assert ollama(client).json()["response"] == "four"
        upstream.end()
        refused = ollama(client)
        assert (refused.status_code, message_of(refused)) == (503, "vLLM cannot be reached")
        socket_path.unlink()
        upstream.start()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert ollama(client).json()["response"] == "four"


def test_it_starts_before_what_it_needs(gateway: Callable[..., Serving], tmp_path: Any) -> None:
    upstream = VLLMStandIn(free_port())
    args = ["--engine", "vllm", "--upstream", upstream.url, "--preload", "m"]
    serving = Serving(tmp_path, free_port(), args=args, fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: _status(client) == "loading")
            assert "cannot be reached" in client.get("/health/ready").json()["reason"]
            with upstream:
                serving.wait_until_ready()
                assert ollama(client).json()["response"] == "four"
    finally:
        serving.end()


def _status(client: httpx2.Client) -> str:
    try:
        found: str = client.get("/health/ready").json()["status"]
    except httpx2.TransportError:
        return ""
    return found


def test_a_model_under_another_name_is_told(
    upstream: VLLMStandIn, gateway: Callable[..., Serving], tmp_path: Any
) -> None:
    args = ["--engine", "vllm", "--upstream", upstream.url, "--preload", "qwen3"]
    serving = Serving(tmp_path, free_port(), args=args, fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: _status(client) == "failed")
            assert "model 'qwen3' not found" in client.get("/health/ready").json()["reason"]
            until(lambda: "vLLM has m" in serving.log.read_text())
            upstream.model = "Qwen/Qwen3"
            refused = client.post("/api/generate", json={"model": "m", "prompt": "x"})
            assert refused.status_code == 200  # it was there when it was looked at last
    finally:
        serving.end()


def test_names_of_hugging_face_are_names(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    upstream.model = "Qwen/Qwen3-8B"
    with gateway(upstream.url, "--preload", "Qwen/Qwen3-8B").client() as client:
        body = {"model": "qwen/qwen3-8b", "prompt": "⟦hi⟧", "stream": False}
        assert client.post("/api/generate", json=body).json()["response"] == "hi"
        assert upstream.bodies("/v1/completions")[-1]["model"] == "Qwen/Qwen3-8B"


def test_paths_get_a_name(upstream: VLLMStandIn, gateway: Callable[..., Serving]) -> None:
    upstream.model = "/models/my model"
    with gateway(upstream.url).client() as client:
        assert client.get("/api/tags").json()["models"][0]["name"] == "my-model:latest"
        body = {"model": "my-model", "prompt": "⟦hi⟧", "stream": False}
        assert client.post("/api/generate", json=body).json()["response"] == "hi"


def test_a_slow_prompt_keeps_the_stream_alive(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    """An ingress ends what says nothing for a minute; heartbeats say something."""
    serving = gateway(upstream.url, "--preload", "m", "--heartbeat", "0.1")
    upstream.step_s = 0.5
    with serving.client() as client:
        body = {"model": "m", "prompt": "⟦x⟧"}
        with client.stream("POST", "/api/generate", json=body) as reply:
            events = [json.loads(line) for line in reply.iter_lines()]
    assert "".join(event["response"] for event in events) == "x"
    assert [event["response"] for event in events[:2]] == ["", ""]


def test_silence_has_an_end(upstream: VLLMStandIn, gateway: Callable[..., Serving]) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        import asyncio

        await asyncio.sleep(60)
        yield b""

    serving = gateway(upstream.url, "--preload", "m", "--upstream-timeout", "0.5")
    upstream.script = on("/v1/completions", lambda: Reply(lines=nothing()))
    with serving.client() as client:
        for ask in (ollama, openai, anthropic):
            reply = ask(client)
            assert reply.status_code == 504
            assert message_of(reply) == "vLLM said nothing for 0.5 s"
    until(lambda: upstream.num_open == 0)


def test_who_leaves_ends_the_work_there(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    upstream.step_s = 0.02
    with gateway(upstream.url, "--preload", "m").client() as client:
        body = {"model": "m", "prompt": "for ever", "options": {"num_predict": 400}}
        with client.stream("POST", "/api/generate", json=body) as reply:
            lines = reply.iter_lines()
            next(lines)
            assert upstream.num_open == 1
        until(lambda: upstream.num_open == 0)
        ps = client.get("/api/ps").json()["models"]
        assert [model["num_running"] for model in ps] == [0]


def test_no_more_requests_than_it_may_have(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    upstream.step_s = 0.02
    with gateway(upstream.url, "--preload", "m", "--max-queue", "1").client() as client:
        body = {"model": "m", "prompt": "for ever", "options": {"num_predict": 400}}
        with client.stream("POST", "/api/generate", json=body) as reply:
            lines = reply.iter_lines()
            next(lines)
            assert ollama(client).status_code == 503
        until(lambda: ollama(client).status_code == 200)


def test_it_is_shown_its_key_and_nobody_else_is(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    serving = gateway(upstream.url, "--preload", "m", AKASH_LLM_UPSTREAM_KEY="canary-key")
    with serving.client() as client:
        assert ollama(client).status_code == 200
        everything = client.get("/api/tags").text + client.get("/metrics").text
    assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer canary-key"}
    assert "canary" not in everything + serving.log.read_text() + serving.out.read_text()


def test_without_its_chat_template_it_is_red_with_the_flag(
    upstream: VLLMStandIn, tmp_path: Any
) -> None:
    upstream.template = None
    args = ["--engine", "vllm", "--upstream", upstream.url, "--preload", "m"]
    serving = Serving(tmp_path, free_port(), args=args, fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: _status(client) in ("loading", "failed"))
            until(
                lambda: (
                    "--enable-tokenizer-info-endpoint"
                    in client.get("/health/ready").json()["reason"]
                )
            )
    finally:
        serving.end()


def test_nothing_of_a_fault_is_left(upstream: VLLMStandIn, gateway: Callable[..., Serving]) -> None:
    """Many broken streams leave no connection and no running request behind."""
    with gateway(upstream.url, "--preload", "m").client() as client:
        upstream.script = on("/v1/completions", said(TOKEN, cut=True))
        for _ in range(20):
            reply = client.post("/api/generate", json={"model": "m", "prompt": "x"})
            assert json.loads(reply.text.splitlines()[-1])["error"]
        upstream.script = lambda asked: None
        until(lambda: upstream.num_open == 0)
        (running,) = client.get("/api/ps").json()["models"]
        assert running["num_running"] == 0
        assert ollama(client).status_code == 200


def test_a_key_for_some_models_is_not_told_of_others(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    keys = {
        "AKASH_LLM_KEYS": f"some:inference:{digest('some')},all:inference:{digest('all')}",
        "AKASH_LLM_KEY_LIMITS": '{"some": {"models": ["other"]}}',
    }
    upstream.model = "secret-model"
    with gateway(upstream.url, "--preload", "secret-model", **keys).client() as client:
        body = {"model": "x", "prompt": "x"}
        for key, is_told in (("some", False), ("all", True)):
            headers = {"authorization": f"Bearer {key}"}
            refused = client.post("/api/generate", json=body, headers=headers)
            assert refused.status_code == 404
            told = refused.text + str(refused.headers)
            assert ("secret-model" in told) == is_told


def test_side_routes_may_be_refused(upstream: VLLMStandIn, gateway: Callable[..., Serving]) -> None:
    closed = ("/metrics", "/openapi.json")
    upstream.script = lambda asked: Reply(403, b'{"error": "no"}') if asked.path in closed else None
    with gateway(upstream.url, "--preload", "m").client() as client:
        assert ollama(client).status_code == 200
        assert "akash_llm_upstream_up 1" in client.get("/metrics").text


def test_nonsense_when_it_is_looked_at_is_looked_at_again(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    with gateway(upstream.url, "--preload", "m").client() as client:
        for junk in (b'{"data": [{"id": 7}]}', b'{"added_tokens_decoder": {"\xc2\xb2": 1}}'):
            upstream.script = on("/v1/models", lambda: Reply(body=junk))  # noqa: B023
            until(lambda: client.get("/health/ready").status_code == 503)
            upstream.script = lambda asked: None
            until(lambda: client.get("/health/ready").status_code == 200)


def test_two_models_of_one_name_are_neither(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    cards = b'{"data": [{"id": "/a/m", "max_model_len": 9}, {"id": "/b/m", "max_model_len": 9}]}'
    upstream.script = on("/v1/models", lambda: Reply(body=cards))
    with gateway(upstream.url).client() as client:
        (tag,) = client.get("/api/tags").json()["models"]
        assert tag["problem"] == "vLLM has two models of that name, /a/m and /b/m"
        refused = ollama(client)
        assert refused.status_code == 500 and "two models of that name" in message_of(refused)


def test_what_is_packed_is_not_unpacked(
    upstream: VLLMStandIn, gateway: Callable[..., Serving]
) -> None:
    with gateway(upstream.url, "--preload", "m").client() as client:
        packed = Reply(200, b"packed", headers={"content-encoding": "gzip"})
        upstream.script = on("/v1/completions", lambda: packed)
        refused = ollama(client)
        assert refused.status_code == 502 and "packs its answer" in message_of(refused)
