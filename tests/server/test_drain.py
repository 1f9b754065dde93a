"""How a server ends: what runs may end by itself, nothing new begins, and who is in a hurry
says so twice."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from server.body_memory import BodyMemory
from server.caller import EVERYBODY
from server.drain import Drain
from server.errors import Overloaded
from server.models.store import Store
from server.state import State
from server.traffic import Traffic
from server.usage import Query, UsageFile
from tests.support.serving import Serving, write_gguf

ENDLESS = {"model": "m", "prompt": "⟦abc⟧", "options": {"ignore_eos": True}}
LONG = {"model": "m", "prompt": f"⟦{'abc' * 40}⟧"}


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., Serving]:
    """A function that makes a server with slow steps; enter it."""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))

    def make(*args: str, **options: Any) -> Serving:
        args = ("--models", str(tmp_path / "models"), *args)
        return Serving(tmp_path, free_port(), args=args, step_s=0.01, **options)

    return make


async def test_a_running_reply_ends_by_itself_and_nothing_new_begins(
    start: Callable[..., Serving],
) -> None:
    with start("--drain", "600") as server:
        async with (
            server.async_client() as client,
            client.stream("POST", "/api/generate", json=LONG) as response,
        ):
            lines = response.aiter_lines()
            await anext(lines)
            server.process.terminate()
            async with asyncio.timeout(20):
                while (ready := await client.get("/health/ready")).status_code == 200:
                    pass
            assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
            assert (await client.get("/health/live")).status_code == 200
            assert "akash_llm_draining 1.0" in (await client.get("/metrics")).text
            refused = await client.post("/api/generate", json=LONG)
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
            assert refused.json() == {"error": "the server is shutting down"}
            *_, last = [line async for line in lines]
        assert json.loads(last)["done_reason"] == "stop"
        assert server.process.wait(30) == 0


def test_the_rest_is_told_at_the_deadline(start: Callable[..., Serving]) -> None:
    with (
        start("--drain", "0.2") as server,
        server.client() as client,
        client.stream("POST", "/api/generate", json=ENDLESS) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        server.process.terminate()
        *_, last = lines
        assert json.loads(last) == {"error": "the server is shutting down"}
        assert server.process.wait(30) == 0


def test_who_waits_for_a_load_is_told_too(start: Callable[..., Serving]) -> None:
    with start("--drain", "0.2", load_s=60) as server, server.client() as client:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/api/generate", json=LONG)
            with server.client() as other:
                while "akash_llm_http_requests_in_flight 2.0" not in other.get("/metrics").text:
                    pass
            server.process.terminate()
            told = waiting.result()
        assert told.status_code == 503 and int(told.headers["retry-after"]) > 0
        assert told.json() == {"error": "the server is shutting down"}


def test_what_outlasts_the_deadline_is_told_too(start: Callable[..., Serving]) -> None:
    """An upload, which no engine ends."""
    with start("--drain", "0.1") as server:
        url = httpx2.URL(server.url)
        with socket.create_connection((url.host, url.port or 0), timeout=30) as upload:
            head = f"POST /api/blobs/sha256:{'0' * 64} HTTP/1.1\r\nhost: {url.host}\r\n"
            upload.sendall(f"{head}content-length: 99\r\n\r\nhalf".encode())
            with server.client() as other:
                while "akash_llm_http_requests_in_flight 2.0" not in other.get("/metrics").text:
                    pass
            server.process.terminate()
            told = b"".join(iter(lambda: upload.recv(4096), b""))
        assert told.startswith(b"HTTP/1.1 503") and b"the server is shutting down" in told
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()


def _is_ready(client: httpx2.Client) -> bool:
    """A connection that is ended under a request is one that was idle when the drain began."""
    try:
        return client.get("/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_goes_at_once(start: Callable[..., Serving], second: int) -> None:
    with start("--drain", "3600", "--preload", "m") as server, server.client() as client:
        family = psutil.Process(server.process.pid).children(recursive=True)
        with (
            pytest.raises(httpx2.TransportError),
            client.stream("POST", "/api/generate", json=ENDLESS) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            with server.client() as other:
                while _is_ready(other):
                    pass
            server.process.send_signal(second)
            for _ in lines:
                pass
        assert server.process.wait(30) == (0 if second == signal.SIGTERM else -signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
        used = UsageFile(State(server.state)).read(Query(key=EVERYBODY.name))
        assert [counts.requests for counts in used.values()] == [1]
        assert second == signal.SIGINT or "Traceback" not in server.log.read_text()


def test_an_idle_server_goes_at_once(start: Callable[..., Serving]) -> None:
    with start("--drain", "3600", fake=False) as server, server.client() as client:
        assert client.get("/api/tags").status_code == 200
        server.process.terminate()
        assert server.process.wait(30) == 0
    with start("--drain", "3600", fake=False) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 130


async def test_it_is_over_with_the_last_request() -> None:
    drain = Drain(Traffic(BodyMemory(1)), limit_s=3600)
    over = asyncio.create_task(drain.over())
    with drain.request():
        with drain.request():
            drain.begin()
        await asyncio.sleep(0)
        assert drain.is_on and not over.done()
    await over


async def test_it_is_over_when_its_time_is_up_or_somebody_says_so() -> None:
    traffic = Traffic(BodyMemory(1))
    for drain, is_cut in ((Drain(traffic, limit_s=0), False), (Drain(traffic, limit_s=1e9), True)):
        with drain.request():
            drain.begin()
            if is_cut:
                drain.cut_short()
            await drain.over()


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_no_engine_ends_is_cancelled_when_the_time_is_up(is_late: bool) -> None:
    drain = Drain(Traffic(BodyMemory(1)), limit_s=0)
    if is_late:
        drain.begin()
    with pytest.raises(Overloaded) as caught:
        async with drain.limit("come again"):
            drain.begin()
            await asyncio.Event().wait()
    assert (caught.value.message, caught.value.hint) == (
        "the server is shutting down",
        "come again",
    )
    assert caught.value.retry_after_s


async def test_what_is_done_in_time_ends_as_it_does() -> None:
    drain = Drain(Traffic(BodyMemory(1)), limit_s=3600)
    async with drain.limit("come again"):
        drain.begin()
        drain.begin()
    with pytest.raises(TimeoutError, match="of its own"):
        async with drain.limit("come again"):
            raise TimeoutError("of its own")


async def test_steps_are_closed_when_the_time_is_up() -> None:
    drain = Drain(Traffic(BodyMemory(1)), limit_s=3600)
    is_closed = asyncio.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            yield 1
            drain.cut_short()
            await asyncio.Event().wait()
        finally:
            is_closed.set()

    told = []
    with pytest.raises(Overloaded):
        async for step in drain.limited(endless(), "come again"):
            told.append(step)
    assert told == [1] and is_closed.is_set()
