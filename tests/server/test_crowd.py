"""Many clients at once: each finishes or is told to come again, none hangs."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from server.models.store import Store
from tests.support.serving import Serving, write_gguf

NUM_CLIENTS, NUM_SLOTS, NUM_WAITING = 200, 8, 100


async def ask(client: httpx2.AsyncClient, number: int, *, stream: bool) -> int:
    """The status; a reply must be whole, a refusal must say when to come again."""
    said = f"client {number}"
    body = {"model": "m", "prompt": f"⟦{said}⟧", "raw": True, "stream": stream}
    async with client.stream("POST", "/api/generate", json=body) as response:
        lines = [json.loads(line) async for line in response.aiter_lines()]
    if response.status_code == 200:
        assert "".join(line["response"] for line in lines) == said
        assert lines[-1]["done"]
    else:
        assert int(response.headers["retry-after"]) > 0
        assert lines == [
            {"error": "server busy, please try again.  maximum pending requests exceeded"}
        ]
    return response.status_code


@pytest.mark.parametrize("stream", [True, False])
async def test_200_clients_on_8_slots(
    tmp_path: Path, free_port: Callable[[], int], stream: bool
) -> None:
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--preload", "m"]
    args += ["--parallel", str(NUM_SLOTS), "--max-queue", str(NUM_WAITING)]
    limits = httpx2.Limits(max_connections=NUM_CLIENTS)
    with Serving(tmp_path, free_port(), args=args, step_s=0.01) as server:
        async with server.async_client(limits=limits) as client, asyncio.timeout(120):
            asked = (ask(client, number, stream=stream) for number in range(NUM_CLIENTS))
            seen = Counter(await asyncio.gather(*asked))
            assert set(seen) == {200, 503} and seen.total() == NUM_CLIENTS
            assert seen[200] >= NUM_SLOTS + NUM_WAITING
            assert await ask(client, NUM_CLIENTS, stream=stream) == 200
