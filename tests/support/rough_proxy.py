"""A proxy before a registry that does to its answers what networks and servers do.

A script looks at each request and says how it is answered; without a script everything
passes. It runs on the loop of the test, so a test can hold it and see what was asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx2


class Request(NamedTuple):
    """What a client asked for; `number` counts its requests for the path from 1 on."""

    path: str
    headers: dict[str, str]
    number: int

    @property
    def is_blob(self) -> bool:
        return "/blobs/" in self.path


class Answer(NamedTuple):
    """What it gets. `cut_after`: the connection ends after so many bytes of the body.
    `hold`: the last byte waits for that event. `is_slow`: it comes in small pieces."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None
    hold: asyncio.Event | None = None
    is_slow: bool = False


Script = Callable[[Request, Answer], Answer]


def passes(request: Request, answer: Answer) -> Answer:
    """The script of a good network."""
    return answer


class RoughProxy:
    """`host` is what a model's name begins with; `seen` every request so far."""

    def __init__(self, target: str) -> None:
        self.script: Script = passes
        self.seen: list[Request] = []
        self.asked = asyncio.Event()
        self._target = target
        self._client = httpx2.AsyncClient(base_url=target, timeout=30, trust_env=False)

    @property
    def blobs(self) -> list[Request]:
        """The requests for blobs."""
        return [request for request in self.seen if request.is_blob]

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen while the context is open."""
        self._connections: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.host}"
        try:
            yield
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._client.aclose()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            path = head[0].split(" ")[1]
            headers = {
                key.strip().lower(): value.strip()
                for key, _, value in (line.partition(":") for line in head[1:] if line)
            }
            number = 1 + sum(request.path == path for request in self.seen)
            request = Request(path, headers, number)
            self.seen.append(request)
            self.asked.set()
            await self._send(writer, self.script(request, await self._forward(request)))
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _forward(self, request: Request) -> Answer:
        wanted = ("accept", "range")
        kept: dict[str, str] = {
            key: value for key, value in request.headers.items() if key in wanted
        }
        answer = await self._client.get(request.path, headers=kept)
        names = ("content-type", "content-range")
        headers = {name: answer.headers[name] for name in names if name in answer.headers}
        return Answer(answer.status_code, headers, answer.content)

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
        headers = {"content-length": str(len(answer.body)), "connection": "close"} | answer.headers
        lines = [f"HTTP/1.1 {answer.status} x", *(f"{key}: {headers[key]}" for key in headers)]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        body = answer.body if answer.cut_after is None else answer.body[: answer.cut_after]
        if answer.hold is not None:
            writer.write(body[:-1])
            await writer.drain()
            await answer.hold.wait()
            body = body[-1:]
        step = 1000 if answer.is_slow else len(body) + 1
        for start in range(0, len(body), step):
            writer.write(body[start : start + step])
            await writer.drain()
