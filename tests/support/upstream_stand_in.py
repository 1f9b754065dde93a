"""A small server in the place of an engine's: it answers as its kind does, and can misbehave."""

import asyncio
import json
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from tests.support.started import Started


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """What it gets: a whole body, or lines one after the other. `cut`: the connection ends in
    the middle of it."""

    status: int = 200
    body: bytes = b""
    lines: AsyncIterator[bytes] | None = None
    cut: bool = False
    headers: Mapping[str, str] = {}


Script = Callable[[Asked], "Reply | None"]


class StandIn(Started):
    """Use as a context manager; `url` answers once it is entered. `script` sees every request
    first and answers those that it wants to; `asked` has all of them, `num_open` counts the
    replies that are being sent, `num_connections` those that were ever made."""

    def __init__(self, port: int = 0, *, socket: str = "") -> None:
        """It listens on a `socket` if there is one, and else on a port."""
        self.script: Script = lambda asked: None
        self.asked: list[Asked] = []
        self.num_open = 0
        self.num_connections = 0
        self._port = port
        self._socket = socket
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def reply(self, asked: Asked) -> Reply:
        """What its kind answers."""

    @property
    def url(self) -> str:
        return f"unix:{self._socket}" if self._socket else f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> None:
        assert self._ready.wait(20)

    def end(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(20)
            self._thread = None

    def bodies(self, path: str) -> list[Any]:
        """The bodies of all requests for a path."""
        return [asked.body for asked in self.asked if asked.path == path]

    def run(self) -> None:
        """Serve until the process ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._socket:
            server = await asyncio.start_unix_server(self._connected, self._socket)
        else:
            server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
            self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        task = asyncio.ensure_future(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                reply = self.script(asked) or self.reply(asked)
                self.num_open += 1
                sending = asyncio.ensure_future(self._send(writer, reply))
                try:
                    await _while_there(reader, sending)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    self.num_open -= 1
                if asked.headers.get("connection") == "close":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        if reply.lines is None:
            headers = {"content-length": str(len(reply.body)), **reply.headers}
            lines = [f"HTTP/1.1 {reply.status} x", *(f"{k}: {v}" for k, v in headers.items())]
            head = "\r\n".join([*lines, "", ""])
            writer.write(head.encode() + (reply.body[:-1] if reply.cut else reply.body))
            await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
            async for line in reply.lines:
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                await writer.drain()
            writer.write(b"" if reply.cut else b"0\r\n\r\n")
            await writer.drain()
        if reply.cut:
            raise ConnectionError


async def _while_there(reader: asyncio.StreamReader, sending: asyncio.Future[None]) -> None:
    """Wait for what is sent; who has gone away is noticed, as by vLLM."""
    while not sending.done():
        await asyncio.wait([sending], timeout=0.02)
        if reader.at_eof():
            raise ConnectionError
    sending.result()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    method, path, _ = head[0].split(" ")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {key.lower(): value.strip() for key, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        return Asked(method, path, headers, await _chunked(reader))
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, json.loads(body) if body else None)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    """A body that comes in pieces, as it is."""
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def as_json(value: Any, *, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode())
