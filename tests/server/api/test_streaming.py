"""What only a real connection shows: clients that leave, clients side by side, broken streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from server.models.store import Store
from tests.support.serving import Serving, write_gguf

ENDLESS = {"model": "m", "prompt": "⟦abc⟧", "options": {"ignore_eos": True}}


@pytest.fixture
async def slow(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Serving]:
    """A server of its own with two slots and slow steps."""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--parallel", "2", "--preload", "m"]
    with Serving(tmp_path, free_port(), args=args, step_s=0.01) as server:
        yield server


async def until_running(client: httpx2.AsyncClient, wanted: int) -> None:
    """Wait until so many requests hold a slot."""
    async with asyncio.timeout(20):
        while True:
            (model,) = (await client.get("/api/ps")).json()["models"]
            if (model["num_running"], model["num_waiting"]) == (wanted, 0):
                return
            await asyncio.sleep(0.01)


async def test_a_stream_that_is_left_frees_its_slot(slow: Serving) -> None:
    async with slow.async_client() as client:
        async with client.stream("POST", "/api/generate", json=ENDLESS) as response:
            lines = response.aiter_lines()  # kept: it closes the reply when it is dropped
            await anext(lines)
            await until_running(client, 1)
        await until_running(client, 0)


async def test_a_client_that_leaves_while_it_waits_for_one_reply_frees_its_slot(
    slow: Serving,
) -> None:
    async with slow.async_client() as client:
        body = {**ENDLESS, "stream": False}
        request = asyncio.create_task(client.post("/api/generate", json=body))
        await until_running(client, 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await until_running(client, 0)


async def test_only_a_client_that_left_is_said_to_have_left(slow: Serving) -> None:
    async with slow.async_client() as client:
        body = {"model": "m", "prompt": "⟦ab⟧"}
        stayed = [
            await client.post("/api/generate", json=body | more)
            for more in ({}, {"stream": False}, {"context": [10**6]})
        ]
        async with client.stream("POST", "/api/generate", json=ENDLESS) as left:
            await anext(left.aiter_bytes())
        await until_running(client, 0)
    assert [response.status_code for response in stayed] == [200, 200, 400]
    gone = [line["request_id"] for line in log(slow) if line["message"] == "the client went away"]
    assert gone == [left.headers["x-request-id"]]


async def test_two_clients_get_their_tokens_in_turns(slow: Serving) -> None:
    order: list[str] = []

    async def ask(client: httpx2.AsyncClient, name: str) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": f"⟦{name * 40}⟧"}]}
        async with client.stream("POST", "/api/chat", json=body) as response:
            async for line in response.aiter_lines():
                order.append(name)
                assert "error" not in json.loads(line)

    async with slow.async_client() as client:
        await asyncio.gather(ask(client, "a"), ask(client, "b"))
    assert order.count("a") == order.count("b") == 41
    both_run = order[order.index("b") if order[0] == "a" else order.index("a") :]
    changes = sum(one != other for one, other in pairwise(both_run))
    assert changes > 20


async def test_a_crash_in_a_stream_is_a_last_line_without_done(slow: Serving) -> None:
    async with (
        slow.async_client() as client,
        client.stream("POST", "/api/generate", json=ENDLESS) as response,
    ):
        seen: list[dict[str, Any]] = []
        async for line in response.aiter_lines():
            if not seen:
                slow.kill_runner()
            seen.append(json.loads(line))
    assert response.status_code == 200
    assert list(seen[-1]) == ["error"]
    assert seen[-1]["error"].startswith("the model runner was ended by SIGKILL")
    assert not any(chunk.get("done") for chunk in seen)
    async with slow.async_client() as client:
        again = await client.post("/api/generate", json={"model": "m", "prompt": "⟦ok⟧"})
        assert again.status_code == 200


async def test_a_crash_before_the_reply_is_a_500(slow: Serving) -> None:
    async with slow.async_client() as client:
        body = {**ENDLESS, "stream": False}
        request = asyncio.create_task(client.post("/api/generate", json=body))
        await until_running(client, 1)
        slow.kill_runner()
        response = await request
    assert response.status_code == 500 and list(response.json()) == ["error"]


async def test_a_full_queue_is_a_503_with_ollamas_words(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--parallel", "1", "--max-queue", "1"]
    with Serving(tmp_path, free_port(), args=args, step_s=0.01) as server:
        async with server.async_client() as client:
            first = [asyncio.create_task(client.post("/api/generate", json=ENDLESS))]
            async with asyncio.timeout(20):
                while await _counts(client) != (1, 0):
                    await asyncio.sleep(0.01)
                first.append(asyncio.create_task(client.post("/api/generate", json=ENDLESS)))
                while await _counts(client) != (1, 1):
                    await asyncio.sleep(0.01)
            refused = await client.post("/api/generate", json=ENDLESS)
            for task in first:
                task.cancel()
            await asyncio.gather(*first, return_exceptions=True)
    assert refused.status_code == 503
    assert refused.json() == {
        "error": "server busy, please try again.  maximum pending requests exceeded"
    }
    assert int(refused.headers["retry-after"]) > 0


async def _counts(client: httpx2.AsyncClient) -> tuple[int, int]:
    models = (await client.get("/api/ps")).json()["models"]
    return (models[0]["num_running"], models[0]["num_waiting"]) if models else (0, 0)


def test_stopping_ends_streams_and_leaves_no_process(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--preload", "m", "--drain", "0.5"]
    with Serving(tmp_path, free_port(), args=args, step_s=0.01) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert family
        with (
            server.client() as client,
            client.stream("POST", "/api/generate", json=ENDLESS) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            *_, last = lines
            server.process.wait(30)
    assert json.loads(last) == {"error": "the server is shutting down"}
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert not alive and gone


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", {"prompt": "x " * 600_000}),
        ("/api/generate", {"prompt": "x " * 600_000, "raw": True}),
        ("/api/chat", {"messages": [{"content": "x " * 300_000}] * 2}),
    ],
)
async def test_a_prompt_far_beyond_the_window_is_not_even_read(
    slow: Serving, path: str, body: dict[str, Any]
) -> None:
    async with slow.async_client() as client:
        response = await client.post(path, json={"model": "m", **body})
        assert response.status_code == 413
        assert "at most 1048576" in response.json()["error"]


async def test_a_client_that_leaves_half_way_through_its_body_is_no_error(slow: Serving) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(slow.url).port)
    writer.write(b"POST /api/generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    async with asyncio.timeout(20):
        while not (seen := [line for line in log(slow) if line.get("path") == "/api/generate"]):
            await asyncio.sleep(0.01)
    assert [line["status"] for line in seen] == [499]
    assert not [line for line in log(slow) if line["level"] == "error"]


def log(serving: Serving) -> list[dict[str, Any]]:
    """The whole lines of a server's log so far."""
    return [json.loads(line) for line in serving.log.read_text().split("\n")[:-1]]
