"""A small server of Ollama's API on a loopback port that answers as a test scripts it.

Written on bare sockets so that it can also do what no framework would: stop in the
middle of a line, answer junk, hold the connection, or notice to the millisecond that
a client has gone.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

MODEL = "scripted:1b"
CONTEXT = 2048


@dataclass(frozen=True)
class Think:
    """A piece of the thinking before the answer."""

    text: str


@dataclass(frozen=True)
class Pause:
    """Send nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """Send nothing until the client goes away."""


@dataclass(frozen=True)
class Gate:
    """Go on when the test has set `opened`."""

    opened: asyncio.Event


@dataclass(frozen=True)
class Hangup:
    """Close the connection here, whatever is missing."""


@dataclass(frozen=True)
class Mark:
    """Note when it was come to, by `time.perf_counter`."""

    moments: list[float]


Step = str | bytes | Think | Pause | Hold | Gate | Hangup | Mark


@dataclass(frozen=True)
class Answer:
    """What a generation sends: text as chunks, bytes as they are, then the last chunk.

    `junk` replaces the whole answer by these bytes, `status` other than 200 by an error.
    """

    steps: Sequence[Step] = ()
    status: int = 200
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    junk: bytes | None = None
    finish: bool = True
    final: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Script = Callable[[Received], Answer]


def words(text: str, *, first_s: float = 0.0, gap_s: float = 0.0) -> Answer:
    """The words of `text` as chunks, the first after `first_s`, the others `gap_s` apart."""
    steps: list[Step] = [Pause(first_s)] if first_s else []
    for index, word in enumerate(text.split(" ")):
        if index and gap_s:
            steps.append(Pause(gap_s))
        steps.append(word if index == 0 else f" {word}")
    return Answer(steps)


class ScriptedEndpoint:
    """The server; `script` may be exchanged at any time.

    `received` are all requests; `active` counts generations under way, `cancelled`
    those whose client went away, and `gone_at` is when that was last noticed
    (`time.monotonic`).
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script: Script = script or (lambda _: words("Hello from the scripted endpoint."))
        self.key = key
        self.tls = tls
        self.speaks_ollama = True
        self.is_ready = True
        self.capabilities = ["completion"]
        self.why_not: object = ""
        self.received: list[Received] = []
        self.active = 0
        self.peak = 0
        self.connections = 0
        self.cancelled = 0
        self.gone_at = 0.0
        self.url = ""
        self.port = 0
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[Self], bool], timeout_s: float = 20.0) -> None:
        """Wait until `condition` of this server is true."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    def generations(self) -> list[Received]:
        """The requests for text."""
        paths = ("/api/chat", "/api/generate", "/v1/chat/completions")
        return [r for r in self.received if r.path in paths]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ahead = b""
        while True:
            received = await _read_request(reader, ahead)
            self.received.append(received)
            await self._tell()
            answering = asyncio.create_task(self._answer(received, writer))
            watching = asyncio.create_task(reader.read(1))
            try:
                await asyncio.wait({answering, watching}, return_when="FIRST_COMPLETED")
                if not answering.done():
                    self.gone_at = time.monotonic()
                    self.cancelled += 1
                    return
                if not answering.result():
                    return
                ahead = await watching
                if not ahead:
                    return
            finally:
                answering.cancel()
                watching.cancel()
                await asyncio.gather(answering, watching, return_exceptions=True)
                await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can serve another request."""
        if self.key and received.headers.get("authorization") != f"Bearer {self.key}":
            return _whole(writer, 401, {"error": "unauthorized"})
        if received.path.startswith("/api/") and not self.speaks_ollama:
            return _whole(writer, 404, {"error": "not found"})
        match received.path:
            case "/v1/models":
                return _whole(writer, 200, {"data": [{"id": MODEL, "max_model_len": CONTEXT}]})
            case "/health/ready":
                body = {"status": "ready", "reason": self.why_not}
                return _whole(writer, 200 if self.is_ready else 503, body)
            case "/api/version":
                return _whole(writer, 200, {"version": "0.13.0"})
            case "/api/tags":
                return _whole(writer, 200, {"models": [{"name": MODEL, "model": MODEL}]})
            case "/api/ps":
                loaded = {"name": MODEL, "model": MODEL, "context_length": CONTEXT}
                return _whole(writer, 200, {"models": [loaded]})
            case "/api/show":
                return _whole(writer, 200, {"capabilities": self.capabilities})
            case "/api/chat" | "/api/generate" | "/v1/chat/completions":
                return await self._generate(received, writer)
        return _whole(writer, 404, {"error": "not found"})

    async def _generate(self, received: Received, writer: asyncio.StreamWriter) -> bool:
        answer = self.script(received)
        if answer.junk is not None:
            writer.write(answer.junk)
            return False
        if answer.status != 200:
            return _whole(writer, answer.status, {"error": answer.error}, answer.headers)
        self.active += 1
        self.peak = max(self.peak, self.active)
        await self._tell()
        try:
            return await _stream(received, answer, writer)
        finally:
            self.active -= 1


async def _stream(received: Received, answer: Answer, writer: asyncio.StreamWriter) -> bool:
    head = {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"}
    writer.write(_head(200, head | dict(answer.headers)))
    clock = _Pace()
    tokens = 0
    for step in answer.steps:
        match step:
            case str():
                tokens += 1
                _chunk(writer, _framed(received, _line(received, step)))
                await writer.drain()
            case Think(text):
                line = _line(received, "") | {"message": {"content": "", "thinking": text}}
                _chunk(writer, json.dumps(line).encode() + b"\n")
                await writer.drain()
            case bytes():
                _chunk(writer, step)
                await writer.drain()
            case Pause(seconds):
                await clock.pass_(seconds)
            case Hold():
                await asyncio.Event().wait()
            case Gate(opened):
                await opened.wait()
            case Hangup():
                return False
            case Mark(moments):
                moments.append(time.perf_counter())
    if answer.finish and received.path == "/v1/chat/completions":
        usage = {"prompt_tokens": len(json.dumps(received.body)) // 4, "completion_tokens": tokens}
        ends = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        _chunk(writer, _framed(received, ends))
        _chunk(writer, _framed(received, {"choices": [], "usage": usage | dict(answer.final)}))
        _chunk(writer, b"data: [DONE]\n\n")
    elif answer.finish:
        final = _line(received, "") | {
            "done": True,
            "done_reason": "stop",
            "total_duration": clock.elapsed_ns(),
            "load_duration": 1000,
            "prompt_eval_count": len(json.dumps(received.body)) // 4,
            "prompt_eval_duration": 1_000_000,
            "eval_count": tokens,
            "eval_duration": clock.elapsed_ns(),
        }
        _chunk(writer, json.dumps(final | dict(answer.final)).encode() + b"\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


class _Pace:
    """Pauses that keep to a schedule, so that small delays do not add up."""

    def __init__(self) -> None:
        self._start = self._due = time.monotonic()

    async def pass_(self, seconds: float) -> None:
        self._due += seconds
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))

    def elapsed_ns(self) -> int:
        return max(1, int((time.monotonic() - self._start) * 1e9))


def _framed(received: Received, line: Mapping[str, Any]) -> bytes:
    data = json.dumps(line).encode()
    return b"data: " + data + b"\n\n" if received.path.startswith("/v1/") else data + b"\n"


def _line(received: Received, text: str) -> dict[str, Any]:
    if received.path.startswith("/v1/"):
        return {"choices": [{"index": 0, "delta": {"content": text}}]}
    line: dict[str, Any] = {
        "model": received.body.get("model"),
        "created_at": "2026-01-01T00:00:00Z",
    }
    if received.path == "/api/chat":
        line["message"] = {"role": "assistant", "content": text}
    else:
        line["response"] = text
    return line | {"done": False}


async def _read_request(reader: asyncio.StreamReader, ahead: bytes) -> Received:
    head = (ahead + await reader.readuntil(b"\r\n\r\n")).decode()
    first, *rest = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(body) if body else None)


def _whole(
    writer: asyncio.StreamWriter,
    status: int,
    body: object,
    headers: Mapping[str, str] | None = None,
) -> bool:
    content = json.dumps(body).encode()
    head = {"content-type": "application/json", "content-length": str(len(content))}
    writer.write(_head(status, head | dict(headers or {})) + content)
    return True


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
