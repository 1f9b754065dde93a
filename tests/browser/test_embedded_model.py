"""The chat notebook against our server with the embedded model: what a new user sees."""

import asyncio
import hashlib
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.async_api import expect

from tests.browser.panel import TIMEOUT_MS, Opened
from tests.goals import Measure
from toolkit.client import Endpoint

MODEL = "smollm2:135m"
KEY = "ak-canary-in-the-browser-0123456789"
IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
MAX_PICTURE_BYTES = 200_000


class Served(NamedTuple):
    url: str
    key_file: Path


@pytest.fixture
async def served(stocked_home: Path, free_port: Callable[[], int]) -> AsyncIterator[Served]:
    """Our server with the embedded model, one slot and a key."""
    key_file = stocked_home / "api.key"
    key_file.write_text(KEY)
    port = free_port()
    environment = {"AKASH_LLM_HOME": str(stocked_home), "PATH": "/usr/bin:/bin"}
    environment["AKASH_LLM_KEYS"] = f"test:inference:{hashlib.sha256(KEY.encode()).hexdigest()}"
    flags = (f"--port={port}", f"--preload={MODEL}", "--parallel=1", "--context=2048")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", *flags), env=environment, stdout=DEVNULL, stderr=PIPE
    )
    log = asyncio.create_task(_read(process))
    url = f"http://127.0.0.1:{port}"
    try:
        async with Endpoint.open(url=url, key=KEY, model=MODEL) as endpoint:
            await endpoint.ready(timeout_s=60)
        yield Served(url, key_file)
    finally:
        process.terminate()
        await process.wait()
        await log


@pytest.mark.goal(2, 3)
@pytest.mark.alone
async def test_the_embedded_model_answers_stops_and_leaves_no_key_behind(
    opened: Opened, served: Served, measured: Measure
) -> None:
    await opened.open(
        "05_chat.ipynb",
        url=served.url,
        key_file=str(served.key_file),
        temperature=0.0,
        first_message="What is a GPU? Answer in two sentences.",
    )
    await opened.wait_for_figures(1)
    await expect(opened.replies.first).to_contain_text("Graphics Processing Unit")
    await opened.say("Give me three tips for writing clear documentation.")
    await opened.wait_for_figures(2)
    await opened.picture("chat-panel")

    await opened.say("Write a very long story about a lighthouse, with many chapters.")
    await expect(opened.replies.nth(2)).to_contain_text(" ", timeout=TIMEOUT_MS)
    await expect(opened.replies.nth(2)).not_to_contain_text("waiting for first token")
    async with Endpoint.open(url=served.url, key=KEY, model=MODEL) as endpoint:
        clicked = time.monotonic()
        await opened.button("Stop").click()
        # The only slot: a request of one token is answered once it is free.
        async for _ in endpoint.chat("hi", options={"num_predict": 1}):
            pass
        took = 1e3 * (time.monotonic() - clicked)
    measured(2, "Stop clicked to the next request answered, one slot, embedded model", took)
    await expect(opened.replies.nth(2)).to_contain_text("stopped")

    saved = await opened.saved()
    assert MODEL in saved and KEY not in saved


def test_the_pictures_of_the_readme_are_small() -> None:
    readme = (IMAGES.parents[1] / "README.md").read_text(encoding="utf-8")
    for picture in IMAGES.iterdir():
        assert f"notebooks/images/{picture.name})" in readme
        assert 10_000 < picture.stat().st_size < MAX_PICTURE_BYTES


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """Keep the pipe empty, so that the server never waits for its reader."""
    assert process.stderr is not None
    return await process.stderr.read()
