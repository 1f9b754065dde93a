"""Garbage collection beside pulls and creates: what they need is there whoever comes first.

Who is to come first waits for a lock that the test holds, or for the registry.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.models.manifest import digest_of
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.ollama_store import put_blob
from tests.support.rough_proxy import RoughProxy
from tests.support.serving import Serving
from tests.support.transfers import (
    holding,
    is_blob,
    left_overs,
    steps_of,
    until_asked,
    until_completed,
)

WEIGHTS = b"weights" * 100_000
SYSTEM = b"It was here before."
DAYS = 86400.0
BUSY = {"num_files": 0, "num_bytes": 0, "is_busy": True}
NOTHING = {"num_files": 0, "num_bytes": 0, "is_busy": False}


@pytest.fixture
def name(registry: ImageRegistry, proxy: RoughProxy) -> str:
    """The name of a model in the registry behind the proxy."""
    registry.push("library/collected:x", [("system", SYSTEM), ("model", WEIGHTS)])
    return f"{proxy.host}/library/collected:x"


@pytest.fixture
def old_blob(small_store: Store) -> Path:
    """A blob of that model which lies in the store since long ago, and which no model needs."""
    return old(small_store, SYSTEM)


def old(store: Store, data: bytes) -> Path:
    put_blob(store.root, data)
    path = store.blobs.path(digest_of(data))
    age(path)
    return path


def age(path: Path) -> None:
    then = time.time() - 3 * DAYS
    os.utime(path, (then, then))


async def collect() -> dict[str, Any]:
    """`akash-llm models gc` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "toolkit", "models", "gc", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:  # it waits for what the test holds
            process.kill()
            await process.wait()
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(said)
    return answer


async def pull(server: Serving, name: str) -> object:
    """Pull in one piece; what is said."""
    async with server.async_client() as client:
        return (await client.post("/api/pull", json={"model": name, "stream": False})).json()


async def until_logged(server: Serving, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in server.log.read_text():
            await asyncio.sleep(0)


async def until_collecting(store: Store) -> None:
    """Wait until somebody has the lock of those who collect. To try it would be in their way."""
    async with asyncio.timeout(60):
        while not (store.writers_lock.exists() and _is_held_alone(store.writers_lock)):
            await asyncio.sleep(0)


def _is_held_alone(path: Path) -> bool:
    """Whether the kernel lists a lock of this file; see proc_locks(5)."""
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    inode = str(path.stat().st_ino)
    return any(
        fields[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and fields[5].rpartition(":")[2] == inode
        for fields in held
    )


def check(store: Store, name: str) -> None:
    """The model is there as it should be, and nothing else is."""
    assert store.get(name).system == SYSTEM.decode()
    assert store.blobs.path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
    assert left_overs(store.root) == []


# -- beside a pull


async def test_nothing_is_collected_beside_a_pull(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    old_blob: Path,
) -> None:
    gate = asyncio.Event()
    proxy.script = holding(WEIGHTS, gate)
    with start_server("--prune", "off") as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            await until_completed(steps, len(SYSTEM))
            age(old_blob)
            assert await collect() == BUSY
            with start_server("--prune", "on") as other:
                await until_logged(other, "models are being pulled or made")
            assert old_blob.exists()
            gate.set()
            *_, last = [step async for step in steps]
        assert last == {"status": "success"}
    check(small_store, name)


async def test_a_pull_waits_for_who_collects_and_fetches_what_went(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    old_blob: Path,
) -> None:
    with start_server("--prune", "off") as server:
        with small_store.changing():
            collecting = asyncio.create_task(collect())
            await until_collecting(small_store)
            pulling = asyncio.create_task(pull(server, name))
            await until_asked(proxy, lambda request: "/manifests/" in request.path)
            assert not proxy.blobs
        assert await collecting == {"num_files": 1, "num_bytes": len(SYSTEM), "is_busy": False}
        assert await pulling == {"status": "success"}
    check(small_store, name)
    assert any(is_blob(request, SYSTEM) for request in proxy.blobs)


async def test_what_a_stopped_pull_counts_on_is_kept_for_the_next_one(
    start_server: Callable[..., Serving],
    small_store: Store,
    proxy: RoughProxy,
    name: str,
    old_blob: Path,
) -> None:
    proxy.script = holding(WEIGHTS, asyncio.Event())
    with start_server("--prune", "off") as server:
        async with steps_of(server, "/api/pull", {"model": name}) as steps:
            await until_completed(steps, len(SYSTEM))
            await until_asked(proxy, lambda request: is_blob(request, WEIGHTS))
            server.process.kill()
        await asyncio.to_thread(server.process.wait, 60)
    assert await collect() == NOTHING
    assert old_blob.exists()
    assert small_store.blobs.path(f"{digest_of(WEIGHTS)}-partial").exists()


# -- beside a create


@pytest.fixture
def weights(small_store: Store, tmp_path: Path) -> bytes:
    """Weights that were sent long ago, and of which no model was made."""
    data = write_model(tmp_path / "w.gguf").read_bytes()
    old(small_store, data)
    return data


async def test_nothing_is_collected_beside_a_create(
    start_server: Callable[..., Serving], small_store: Store, weights: bytes
) -> None:
    body = {"model": "made", "files": {"w.gguf": digest_of(weights)}}
    with start_server("--prune", "off") as server:
        async with steps_of(server, "/api/create", body) as steps:
            with small_store.changing():
                while await anext(steps) != {"status": "writing manifest"}:
                    pass
                assert await collect() == BUSY
            *_, last = [step async for step in steps]
        assert last == {"status": "success"}
    assert small_store.get("made").check()[0].read_bytes() == weights


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_who_is_told_that_a_blob_is_there_can_count_on_it(
    start_server: Callable[..., Serving], small_store: Store, weights: bytes, method: str
) -> None:
    digest = digest_of(weights)
    body = {"model": "made", "files": {"w.gguf": digest}, "stream": False}
    with start_server("--prune", "off") as server:
        async with server.async_client() as client:
            content = weights if method == "POST" else None
            told = await client.request(method, f"/api/blobs/{digest}", content=content)
            assert told.status_code == 200
            assert await collect() == NOTHING
            assert (await client.post("/api/create", json=body)).json() == {"status": "success"}
    assert small_store.get("made").check()[0].read_bytes() == weights


async def test_a_blob_that_nobody_asked_for_is_collected(
    small_store: Store, weights: bytes
) -> None:
    assert (await collect())["num_bytes"] == len(weights)
    assert small_store.blobs.size(digest_of(weights)) is None
