"""Pulls that stand still where a test wants them to, and what is left of them on the disk."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from server.models.manifest import digest_of
from tests.support.rough_proxy import Answer, Request, RoughProxy, Script
from tests.support.serving import Serving

Step = dict[str, Any]


def is_blob(request: Request, data: bytes) -> bool:
    """Whether it is a request for this blob."""
    return request.path.endswith(digest_of(data))


def holding(data: bytes, gate: asyncio.Event) -> Script:
    """A script that lets everything pass but the last byte of a blob."""

    def script(request: Request, answer: Answer) -> Answer:
        return answer._replace(hold=gate) if is_blob(request, data) else answer

    return script


async def until_asked(proxy: RoughProxy, fits: Callable[[Request], bool]) -> None:
    """Wait for a request that fits."""
    while not any(map(fits, proxy.seen)):
        proxy.asked.clear()
        await proxy.asked.wait()


@asynccontextmanager
async def steps_of(
    server: Serving, path: str, body: dict[str, Any]
) -> AsyncIterator[AsyncIterator[Step]]:
    """The progress of a request, line by line; the connection must end as it should."""
    async with (
        server.async_client() as client,
        client.stream("POST", path, json=body) as response,
    ):
        assert response.status_code == 200
        yield _decoded(response)


async def until_completed(steps: AsyncIterator[Step], num_bytes: int) -> None:
    """Read on until so many bytes of something are there."""
    while (await anext(steps)).get("completed", 0) < num_bytes:
        pass


def left_overs(root: Path) -> list[str]:
    """Files of a store that only somebody who still works on it needs."""
    patterns = ("*partial*", "draft-*", ".*", "*/.*-*", "*/*/*/*/.*-*")
    folders = (root / "blobs", root / "manifests")
    return [path.name for folder in folders for each in patterns for path in folder.glob(each)]


async def _decoded(response: httpx2.Response) -> AsyncIterator[Step]:
    async for line in response.aiter_lines():
        yield json.loads(line)
