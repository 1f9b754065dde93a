"""What goes wrong in the Ollama behind a gateway: one clear error in each dialect, and the next
request works."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.support.ollama_stand_in import END, OllamaStandIn, in_form, spoken
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.upstream_stand_in import Asked, Reply, as_json
from tests.support.waiting import until

Gateway = Callable[..., Serving]
ASK = [{"role": "user", "content": "Hi"}]
TALKS = ("/api/chat", "/api/generate")
DIALECTS: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "Hi"},
    "/api/chat": {"messages": ASK},
    "/v1/chat/completions": {"messages": ASK},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": ASK, "max_tokens": 9},
}
EVERY = pytest.mark.parametrize("path", DIALECTS)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[OllamaStandIn]:
    with OllamaStandIn() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def client(
    stand_in: OllamaStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A client of a gateway that is not patient."""
    args = ["--engine", "ollama", "--upstream", stand_in.url, "--upstream-timeout", "0.5"]
    folder = tmp_path_factory.mktemp("gateway")
    with (
        Serving(folder, free_port(), args=args, fake=False) as serving,
        serving.client() as client,
    ):
        yield client


@pytest.fixture
def ollama(stand_in: OllamaStandIn) -> OllamaStandIn:
    stand_in.script = lambda asked: None
    return stand_in


def ask(client: httpx2.Client, path: str, *, stream: bool = False) -> httpx2.Response:
    return client.post(path, json={"model": "m", "stream": stream} | DIALECTS[path])


def message_of(reply: httpx2.Response) -> str:
    """What a dialect says went wrong."""
    error = reply.json()["error"]
    said: str = error["message"] if isinstance(error, dict) else error
    return said


def talking(reply: Callable[[], Reply]) -> Callable[[Asked], Reply | None]:
    """A script for requests for a reply."""
    return lambda asked: reply() if asked.path in TALKS else None


def line(path: str, text: str, **more: Any) -> bytes:
    return json.dumps(in_form(spoken(text, **more), is_chat=path == "/api/chat")).encode() + b"\n"


def lines(*parts: bytes, cut: bool = False) -> Callable[[], Reply]:
    async def spoken() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return lambda: Reply(lines=spoken(), cut=cut)


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


FAULTS = [
    (lambda: as_json({"error": "llama runner died"}, status=500), 502, "llama runner died"),
    (lambda: Reply(503, b'{"error": "server busy, please try again"}'), 503, "server busy"),
    (lambda: Reply(502, b"<html>"), 503, "Ollama is not ready"),
    (lambda: Reply(401, b""), 502, "AKASH_LLM_UPSTREAM_KEY"),
    (lambda: as_json({"error": "you may not"}, status=403), 403, "you may not"),
    (lambda: as_json({"error": "model 'm' not found"}, status=404), 404, "model 'm' not found"),
    (lambda: as_json({"error": "top_k is odd"}, status=400), 400, "top_k is odd"),
    (lambda: Reply(301, b""), 502, "status 301"),
    (lines(b"no JSON at all\n"), 502, "cannot be read"),
    (lines(b'{"done": "maybe"}\n'), 502, "cannot be read"),
    (lines(b"[" * 100_000 + b"\n"), 502, "cannot be read"),
    (lines(b'{"error": "CUDA error: out of memory"}\n'), 502, "CUDA error: out of memory"),
    (lines(), 502, "before it was done"),
    (lines(b'{"done": false}', cut=True), 502, "broke off"),
    (lambda: Reply(lines=_silence()), 504, "said nothing for 0.5 s"),
]


@EVERY
@pytest.mark.parametrize(("reply", "status", "text"), FAULTS)
def test_before_anything_is_said(
    client: httpx2.Client,
    ollama: OllamaStandIn,
    path: str,
    reply: Callable[[], Reply],
    status: int,
    text: str,
) -> None:
    ollama.script = talking(reply)
    failed = ask(client, path)
    assert failed.status_code == status and text in (
        message_of(failed) + failed.headers.get("x-error-hint", "")
    )
    ollama.script = lambda asked: None
    assert ask(client, path).status_code == 200, "the next request"
    until(lambda: ollama.num_open == 0)


@EVERY
@pytest.mark.parametrize(
    ("rest", "cut", "text"),
    [
        (b'{"error": "the GPU fell off"}\n', False, "the GPU fell off"),
        (b"junk\n", False, "cannot be read"),
        (b"", False, "before it was done"),
        (b"", True, "broke off"),
        (None, False, "said nothing for 0.5 s"),
    ],
)
def test_in_the_middle_of_a_stream(
    client: httpx2.Client,
    ollama: OllamaStandIn,
    path: str,
    rest: bytes | None,
    cut: bool,
    text: str,
) -> None:
    async def said(asked: Asked) -> AsyncIterator[bytes]:
        yield line(asked.path, "Hel")
        if rest is None:
            await asyncio.Event().wait()
        elif rest:
            yield rest

    ollama.script = lambda asked: Reply(lines=said(asked), cut=cut) if asked.path in TALKS else None
    broken = ask(client, path, stream=True)
    assert broken.status_code == 200 and "Hel" in broken.text and text in broken.text
    ollama.script = lambda asked: None
    assert "lo" in ask(client, path, stream=True).text
    until(lambda: ollama.num_open == 0)


def test_what_comes_behind_the_end_does_not_matter(
    client: httpx2.Client, ollama: OllamaStandIn
) -> None:
    async def said() -> AsyncIterator[bytes]:
        yield line("/api/chat", "Hi") + line("/api/chat", "") + b'{"done": true}\njunk\n'
        await asyncio.Event().wait()

    ollama.script = talking(lambda: Reply(lines=said()))
    assert ask(client, "/api/chat").json()["message"]["content"] == "Hi"
    until(lambda: ollama.num_open == 0)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({"embeddings": []}, 502),
        ({"embeddings": [[0.1], [0.2]]}, 502),
        ({"embeddings": [["a"]]}, 502),
        ({"embeddings": None}, 502),
        ({"error": "the input length exceeds the context length"}, 400),
    ],
)
def test_vectors_that_are_none(
    client: httpx2.Client, ollama: OllamaStandIn, reply: dict[str, Any], status: int
) -> None:
    ollama.script = lambda asked: (
        as_json(reply, status=400 if "error" in reply else 200)
        if asked.path == "/api/embed"
        else None
    )
    assert client.post("/api/embed", json={"model": "m", "input": "a"}).status_code == status


@pytest.mark.parametrize(
    "said",
    [
        "the prompt is longer than the context length currently available to the model; shorten",
        "request (9 tokens) exceeds the available context size: exceed_context_size_error",
    ],
)
def test_a_prompt_that_is_too_long(client: httpx2.Client, ollama: OllamaStandIn, said: str) -> None:
    ollama.script = talking(lambda: as_json({"error": said}, status=400))
    refused = client.post("/v1/chat/completions", json={"model": "m", "messages": ASK})
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["code"] == "context_length_exceeded"


@EVERY
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_request_there(
    client: httpx2.Client, ollama: OllamaStandIn, path: str, stream: bool
) -> None:
    async def said(asked: Asked) -> AsyncIterator[bytes]:
        while True:
            yield line(asked.path, "a")
            await asyncio.sleep(0.01)

    ollama.script = lambda asked: Reply(lines=said(asked)) if asked.path in TALKS else None
    body = {"model": "m", "stream": stream} | DIALECTS[path]
    async with httpx2.AsyncClient(base_url=client.base_url, trust_env=False) as leaving:
        asking = asyncio.create_task(leaving.post(path, json=body))
        await asyncio.to_thread(until, lambda: ollama.num_open == 1)
        asking.cancel()
    await asyncio.to_thread(until, lambda: ollama.num_open == 0)


def test_silence_is_bridged_while_a_model_loads(gateway: Gateway, ollama: OllamaStandIn) -> None:
    async def slow(asked: Asked) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.5)
        yield line(asked.path, "") + json.dumps(in_form(spoken("Hi") | END, is_chat=True)).encode()

    with gateway(ollama.url, "--heartbeat", "0.05", engine="ollama").client() as client:
        client.get("/api/tags")
        ollama.script = lambda asked: Reply(lines=slow(asked)) if asked.path in TALKS else None
        replies = ask(client, "/api/chat", stream=True).text.splitlines()
    texts = [json.loads(each)["message"]["content"] for each in replies]
    assert texts[:2] == ["", ""] and texts[-2:] == ["Hi", ""]


@EVERY
def test_an_ollama_that_ends_and_comes_back(gateway: Gateway, path: str) -> None:
    port = free_port()
    with OllamaStandIn(port):
        serving = gateway(f"http://127.0.0.1:{port}", engine="ollama")
        with serving.client() as client:
            assert ask(client, path).status_code == 200
    with serving.client() as client:
        gone = ask(client, path)
        assert gone.status_code == 503 and "Ollama cannot be reached" in message_of(gone)
        assert int(gone.headers["retry-after"]) > 0
        until(lambda: client.get("/health/ready").status_code == 503)
        assert client.get("/health/live").status_code == 200
        assert client.get("/api/tags").status_code == 503
        with OllamaStandIn(port):
            assert ask(client, path).status_code == 200, "without waiting for the next look"
            assert client.get("/health/ready").status_code == 200


def test_an_ollama_that_comes_later(tmp_path: Any) -> None:
    port = free_port()
    args = ["--engine", "ollama", "--upstream", f"http://127.0.0.1:{port}", "--preload", "m"]
    serving = Serving(tmp_path, free_port(), args=args, fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: answers(client))
            assert client.get("/health/ready").json()["status"] == "loading"
            with OllamaStandIn(port) as ollama:
                serving.wait_until_ready()
                assert ollama.last["keep_alive"] == -1
    finally:
        serving.end()


def answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx2.TransportError:
        return False


@EVERY
def test_a_gateway_that_ends_says_so(gateway: Gateway, ollama: OllamaStandIn, path: str) -> None:
    async def endless(asked: Asked) -> AsyncIterator[bytes]:
        while True:
            yield line(asked.path, "a")
            await asyncio.sleep(0.02)

    serving = gateway(ollama.url, "--drain", "0", engine="ollama")
    ollama.script = lambda asked: Reply(lines=endless(asked)) if asked.path in TALKS else None
    body = {"model": "m", "stream": True} | DIALECTS[path]
    with serving.client() as client, client.stream("POST", path, json=body) as reply:
        parts = reply.iter_text()
        said = next(parts)
        serving.process.terminate()
        said += "".join(parts)
    assert "the server is shutting down" in said


def test_something_else_at_that_address(tmp_path: Any, ollama: OllamaStandIn) -> None:
    ollama.script = lambda asked: Reply(404, b"404 page not found")
    args = ["--engine", "ollama", "--upstream", ollama.url]
    serving = Serving(tmp_path, free_port(), args=args, fake=False)
    serving.start()
    try:
        with serving.client() as client:
            until(lambda: answers(client))
            reply = ask(client, "/api/chat")
            assert reply.status_code == 503 and "is no Ollama" in message_of(reply)
    finally:
        serving.end()
