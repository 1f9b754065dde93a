"""Models of an Ollama that are pulled, made, copied and removed through a gateway: before
another server of ours, and before one that says what is scripted."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.keys import digest, generate_key
from server.models.store import Store
from server.settings import SettingsError, load
from server.upstream.ollama import open_engine
from tests.support.ollama_stand_in import OllamaStandIn, as_lines
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf
from tests.support.upstream_stand_in import Asked, Reply, as_json

Gateway = Callable[..., Serving]
BLOB = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server of ours with the model `m`, in the place of an Ollama."""
    folder = tmp_path_factory.mktemp("upstream")
    Store(folder / "models").add_file("m", write_gguf(folder / "m.gguf"))
    args = ["--models", str(folder / "models"), "--registries", "nobody.test"]
    with Serving(folder, free_port(), args=args) as serving:
        yield serving


@pytest.fixture(scope="module")
def client(upstream: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    args = ["--engine", "ollama", "--upstream", upstream.url]
    folder = tmp_path_factory.mktemp("gateway")
    with (
        Serving(folder, free_port(), args=args, fake=False) as serving,
        serving.client() as client,
    ):
        yield client


def names(client: httpx2.Client) -> list[str]:
    return [model["name"] for model in client.get("/api/tags").json()["models"]]


def running(client: httpx2.Client) -> list[str]:
    return [model["name"] for model in client.get("/api/ps").json()["models"]]


def remove(client: httpx2.Client, name: str) -> httpx2.Response:
    return client.request("DELETE", "/api/delete", json={"model": name})


def statuses(reply: httpx2.Response) -> list[str]:
    return [json.loads(line)["status"] for line in reply.text.splitlines()]


def test_a_model_is_made_copied_used_and_removed(client: httpx2.Client) -> None:
    made = client.post(
        "/api/create",
        json={
            "model": "mine",
            "from": "m",
            "system": "Be brief.",
            "parameters": {"num_predict": 2},
            "messages": [{"role": "user", "content": "ping"}],
            "license": ["Free"],
        },
    )
    assert statuses(made)[-1] == "success"
    copied = client.post("/api/copy", json={"source": "mine", "destination": "other"})
    assert (copied.status_code, copied.content) == (200, b"")
    shown = client.post("/api/show", json={"model": "other"}).json()
    assert (shown["system"], shown["license"]) == ("Be brief.", "Free")
    assert shown["messages"] == [{"role": "user", "content": "ping"}]
    said = client.post("/api/generate", json={"model": "other", "prompt": "⟦abc⟧", "stream": False})
    assert (said.json()["response"], said.json()["done_reason"]) == ("ab", "length")
    assert {"mine:latest", "other:latest"} <= set(names(client))
    for name in ("mine", "other"):
        assert remove(client, name).status_code == 200
    assert names(client) == ["m:latest"]


def test_what_is_removed_is_unloaded(client: httpx2.Client, upstream: Serving) -> None:
    client.post("/api/create", json={"model": "loaded", "from": "m", "system": "x"})
    client.post("/api/generate", json={"model": "loaded", "prompt": "a", "stream": False})
    with upstream.client() as behind:
        for server in (client, behind):
            assert "loaded:latest" in running(server)
        remove(client, "loaded")
        for server in (client, behind):
            assert "loaded:latest" not in running(server)


def test_a_model_is_made_of_a_blob(client: httpx2.Client, tmp_path: Path) -> None:
    data = write_gguf(tmp_path / "x.gguf", fields={"general.name": "sent"}).read_bytes()
    sha256 = f"sha256:{hashlib.sha256(data).hexdigest()}"
    path = f"/api/blobs/{sha256}"
    assert client.head(path).status_code == 404
    assert client.post(path, content=data).status_code == 201
    assert client.post(path, content=data).status_code == 200
    assert client.head(path).status_code == 200
    made = client.post("/api/create", json={"model": "sent", "files": {"x.gguf": sha256}})
    assert statuses(made)[-1] == "success"
    assert remove(client, "sent").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/api/copy", {"source": "no", "destination": "x"}, 404, 'model "no" not found'),
        ("POST", "/api/copy", {"source": "m", "destination": "a b"}, 400, "is invalid"),
        ("DELETE", "/api/delete", {"model": "no"}, 404, "model 'no' not found"),
        ("POST", "/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ("POST", "/api/create", {"model": "x", "from": "hf.co/a/b"}, 403, "from hf.co"),
        ("POST", "/api/create", {"model": "x", "from": "evil.test/a/b"}, 403, "evil.test"),
        ("POST", "/api/pull", {"model": "evil.test/a/b"}, 403, "may not be pulled from evil.test"),
        ("POST", "/api/pull", {"model": "m", "insecure": True}, 400, "not used over http"),
        ("POST", "/api/pull", {"model": "a b"}, 400, "is invalid"),
        ("POST", "/api/blobs/sha256:xyz", None, 400, "invalid digest format"),
        ("POST", f"/api/blobs/{BLOB}", None, 400, "digest mismatch"),
    ],
)
def test_what_cannot_be_done(
    client: httpx2.Client, method: str, path: str, body: Any, status: int, text: str
) -> None:
    """In the words of the server behind it, with its status."""
    reply = client.request(method, path, json=body)
    assert reply.status_code == status and text in reply.json()["error"]


@pytest.fixture
def ollama() -> Iterator[OllamaStandIn]:
    with OllamaStandIn() as stand_in:
        yield stand_in


PULLED: list[dict[str, Any]] = [
    {"status": "pulling manifest"},
    {"status": "pulling aabbccddeeff", "digest": BLOB, "total": 100},
    {"status": "pulling aabbccddeeff", "digest": BLOB, "total": 100, "completed": 40},
    {"status": "verifying sha256 digest"},
    {"status": "success"},
]


def on(path: str, reply: Callable[[], Reply]) -> Callable[[Asked], Reply | None]:
    return lambda asked: reply() if asked.path == path else None


def test_progress_comes_as_it_is(gateway: Gateway, ollama: OllamaStandIn) -> None:
    ollama.script = on("/api/pull", lambda: as_lines(PULLED))
    with gateway(ollama.url, engine="ollama").client() as client:
        reply = client.post("/api/pull", json={"model": "qwen3:8b"})
        assert [json.loads(line) for line in reply.text.splitlines()] == PULLED
        whole = client.post("/api/pull", json={"name": "qwen3:8b", "stream": False})
        assert whole.json() == {"status": "success"}
    assert ollama.bodies("/api/pull")[0] == {
        "model": "qwen3:8b", "insecure": False, "stream": True,
    }  # fmt: skip


MISSING = "pull model manifest: file does not exist"


@pytest.mark.parametrize(
    ("lines", "status", "text"),
    [
        ([{"status": "pulling manifest"}, {"error": MISSING}], 404, MISSING),
        ([{"error": "invalid model name", "status": 400}], 400, "invalid model name"),
        ([{"error": "max retries exceeded: EOF"}], 502, "max retries exceeded: EOF"),
        ([{"error": ["odd"]}], 502, "does not say what failed"),
        ([{"status": "pulling manifest"}], 502, "Ollama ended before it was done"),
        ([{"total": "many"}], 502, "cannot be read"),
    ],
)
def test_pulls_that_fail(
    gateway: Gateway, ollama: OllamaStandIn, lines: Sequence[Any], status: int, text: str
) -> None:
    ollama.script = on("/api/pull", lambda: as_lines(lines))
    with gateway(ollama.url, engine="ollama").client() as client:
        whole = client.post("/api/pull", json={"model": "x", "stream": False})
        assert (whole.status_code, text in whole.json()["error"]) == (status, True)
        *_, last = client.post("/api/pull", json={"model": "x"}).text.splitlines()
        assert text in json.loads(last)["error"]


def test_a_blob_goes_on_as_it_comes(gateway: Gateway, ollama: OllamaStandIn) -> None:
    def answer(asked: Asked) -> Reply | None:
        if asked.path == f"/api/blobs/{BLOB}":
            return Reply(404 if asked.method == "HEAD" else 201)
        return None

    ollama.script = answer
    data = b"x" * 1_000_000
    with gateway(ollama.url, engine="ollama").client() as client:
        assert client.post(f"/api/blobs/{BLOB}", content=data).status_code == 201
    taken = next(asked for asked in ollama.asked if asked.method == "POST")
    assert taken.body == data and taken.headers["transfer-encoding"] == "chunked"


async def test_a_pull_that_is_left_ends_there(gateway: Gateway, ollama: OllamaStandIn) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'{"status": "pulling manifest"}\n'
            await asyncio.sleep(0.02)

    ollama.script = on("/api/pull", lambda: Reply(lines=endless()))
    with (
        gateway(ollama.url, engine="ollama").client() as client,
        client.stream("POST", "/api/pull", json={"model": "x"}) as reply,
    ):
        next(reply.iter_lines())
        assert ollama.num_open >= 1
    async with asyncio.timeout(20):
        while ollama.num_open:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("args", [(), ("--no-management",)])
def test_only_an_admin_changes_models(
    gateway: Gateway, ollama: OllamaStandIn, args: Sequence[str]
) -> None:
    keys = {scope: generate_key() for scope in ("inference", "read", "admin")}
    env = ",".join(f"{scope}:{scope}:{digest(key)}" for scope, key in keys.items())
    serving = gateway(ollama.url, *args, engine="ollama", AKASH_LLM_KEYS=env)
    with serving.client() as client:
        for scope, key in keys.items():
            client.headers["authorization"] = f"Bearer {key}"
            reply = client.post("/api/copy", json={"source": "m", "destination": "x"})
            may = scope == "admin" and not args
            assert (reply.status_code == 403) is not may
    assert len(ollama.bodies("/api/copy")) == (0 if args else 1)


def test_what_is_to_be_preloaded_is_pulled_until_it_works(
    tmp_path: Path, ollama: OllamaStandIn
) -> None:
    """The first pull fails, the second is slow enough to be seen."""
    has_it = asyncio.Event()
    pulls = iter([as_lines([{"error": "no route to host"}])])

    async def slow() -> AsyncIterator[bytes]:
        for step in PULLED[:-1]:
            yield json.dumps(step).encode() + b"\n"
        await asyncio.sleep(1.0)
        has_it.set()
        yield json.dumps(PULLED[-1]).encode() + b"\n"

    def answer(asked: Asked) -> Reply | None:
        match asked.path:
            case "/api/tags" if not has_it.is_set():
                return as_json({"models": []})
            case "/api/pull":
                return next(pulls, None) or Reply(lines=slow())
        return None

    ollama.script = answer
    args = ["--engine", "ollama", "--upstream", ollama.url, "--preload", "m", "--pull", "missing"]
    with Serving(tmp_path, free_port(), args=args, fake=False) as serving:
        seen = serving.seen
    assert any("no route to host" in one.get("reason", "") for one in seen)
    assert any(one["status"] == "pulling" and one["percent"] == {"m": 40} for one in seen)
    assert seen[-1]["status"] == "ready"


def test_what_may_not_be_pulled_is_no_setting() -> None:
    argv = ["--engine", "ollama", "--upstream", "http://127.0.0.1:1", "--preload", "evil.test/a/b"]
    settings = load([*argv, "--pull", "missing"], {})
    with pytest.raises(SettingsError, match="cannot preload: models may not be pulled"):
        open_engine(settings)
