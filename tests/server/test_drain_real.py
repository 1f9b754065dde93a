"""How a server with the real engine ends: replies in every dialect, and no process is left."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psutil
import pytest

from tests.support.named_events import events_of
from tests.support.serving import Serving

MODEL = "smollm2:135m"
ENDING = "the server is shutting down"
DONE = "(done)"
PROMPT = "Tell a story."
MESSAGES = [{"role": "user", "content": PROMPT}]


def _ollama_end(text: str) -> str:
    last = json.loads(text.splitlines()[-1])
    return DONE if last.get("done_reason") == "length" else last["error"]


def _openai_end(text: str) -> str:
    last = text.split("\n\n")[-2].removeprefix("data: ")
    return DONE if last == "[DONE]" else json.loads(last)["error"]["message"]


def _anthropic_end(text: str) -> str:
    last = events_of(text)[-1]
    if last["type"] == "error" and last["error"]["type"] == "overloaded_error":
        return str(last["error"]["message"])
    return DONE if last["type"] == "message_stop" else ""


def _responses_end(text: str) -> str:
    last = events_of(text)[-1]
    if last["type"] == "response.failed":
        return str(last["response"]["error"]["message"])
    return DONE if last["type"] == "response.incomplete" else ""


class Dialect(NamedTuple):
    """A path, what to ask there, the field for the number of tokens, and how a stream ends:
    `DONE`, or the text of an error in its form."""

    path: str
    body: dict[str, Any]
    limit: str
    end_of: Callable[[str], str]


DIALECTS = (
    Dialect("/api/chat", {"messages": MESSAGES}, "num_predict", _ollama_end),
    Dialect("/v1/chat/completions", {"messages": MESSAGES}, "max_tokens", _openai_end),
    Dialect("/v1/messages", {"messages": MESSAGES}, "max_tokens", _anthropic_end),
    Dialect("/v1/responses", {"input": PROMPT}, "max_output_tokens", _responses_end),
)


def asked(dialect: Dialect, tokens: int) -> dict[str, Any]:
    """The body that asks for a stream of so many tokens."""
    options: dict[str, Any] = {"ignore_eos": True}
    body = {"model": MODEL, "stream": True, "ignore_eos": True, **dialect.body}
    if dialect.limit == "num_predict":
        return {**body, "options": {**options, "num_predict": tokens}}
    return {**body, "options": options, dialect.limit: tokens}


def message_of(refused: httpx2.Response) -> str:
    """What a refusal says, in whatever shape."""
    error = refused.json()["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.fixture
def start(
    stocked_home: Path, tmp_path: Path, free_port: Callable[[], int]
) -> Callable[..., Serving]:
    """A function that makes a server with the embedded model loaded; enter it."""

    def make(*args: str) -> Serving:
        args = ("--preload", MODEL, "--parallel", "4", "--context", "2048", *args)
        return Serving(tmp_path, free_port(), args=args, fake=False)

    return make


class Streams:
    """A stream in each dialect; all have begun once it is entered."""

    def __init__(self, client: httpx2.AsyncClient, tokens: int) -> None:
        self._client = client
        self._tokens = tokens
        self._stack = AsyncExitStack()
        self._streams: list[tuple[Dialect, AsyncIterator[str], str]] = []

    async def __aenter__(self) -> "Streams":
        for dialect in DIALECTS:
            body = asked(dialect, self._tokens)
            opened = self._client.stream("POST", dialect.path, json=body)
            response = await self._stack.enter_async_context(opened)
            assert response.status_code == 200
            parts = response.aiter_text()
            self._streams.append((dialect, parts, await anext(parts)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ends(self) -> list[str]:
        """How each ends, once all have."""
        return await asyncio.gather(*(self._end(*stream) for stream in self._streams))

    @staticmethod
    async def _end(dialect: Dialect, parts: AsyncIterator[str], first: str) -> str:
        return dialect.end_of("".join([first, *[part async for part in parts]]))


def family_of(server: Serving) -> list[psutil.Process]:
    """The processes that the server began; the one that computes is among them."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert any("server.engine.runner" in process.cmdline() for process in family)
    return family


def check_gone(server: Serving, family: list[psutil.Process]) -> None:
    assert server.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert "Traceback" not in server.log.read_text()


async def test_running_streams_end_by_themselves(start: Callable[..., Serving]) -> None:
    with start("--drain", "600") as server:
        family = family_of(server)
        async with (
            server.async_client() as client,
            server.async_client() as other,
            Streams(client, tokens=100) as streams,
        ):
            server.process.terminate()
            async with asyncio.timeout(60):
                while (await other.get("/health/ready")).status_code == 200:
                    pass
            for dialect in DIALECTS:
                refused = await other.post(dialect.path, json=asked(dialect, 1))
                assert (refused.status_code, message_of(refused)) == (503, ENDING)
                assert int(refused.headers["retry-after"]) > 0
            assert await streams.ends() == [DONE] * len(DIALECTS)
        check_gone(server, family)


async def test_streams_that_outlast_the_drain_are_told(start: Callable[..., Serving]) -> None:
    with start("--drain", "0.1") as server:
        family = family_of(server)
        async with server.async_client() as client, Streams(client, tokens=1900) as streams:
            server.process.terminate()
            assert await streams.ends() == [ENDING] * len(DIALECTS)
        check_gone(server, family)
