"""One process that renders templates, as seen from the HTTP process."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import msgspec

from server.chat.render_messages import (
    Define,
    Forget,
    FromWorker,
    Ready,
    decode_from_worker,
    encode,
)
from server.chat.template import ChatTemplate
from server.engine.frames import Frames
from server.engine.process import RunnerProcess
from server.errors import Overloaded

MAX_TEMPLATES = 64
_START_S = 30.0
_MODULE = "server.chat.render_worker"


class RenderProcess(asyncio.Protocol):
    """A started process. Made by `start`; it is sent one question at a time."""

    def __init__(
        self,
        on_answer: "Callable[[RenderProcess, FromWorker], None]",
        on_end: "Callable[[RenderProcess], None]",
    ) -> None:
        self._on_answer = on_answer
        self._on_end = on_end
        self._frames = Frames()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: RunnerProcess | None = None
        self._known: dict[int, None] = {}
        self._is_lost = False

    @classmethod
    async def start(
        cls,
        limit_s: float,
        on_answer: "Callable[[RenderProcess, FromWorker], None]",
        on_end: "Callable[[RenderProcess], None]",
    ) -> "RenderProcess":
        """Start one that ends itself if an answer takes longer than `limit_s`.

        `on_end` is called once when it has ended, whyever. Raises `Overloaded`; then
        nothing is left running.
        """
        made = cls(on_answer, on_end)
        try:
            await made._open(limit_s)
            async with asyncio.timeout(_START_S):
                await made._ready
        except (OSError, TimeoutError) as error:
            await made.stop()
            raise Overloaded(
                f"no process for chat templates could be started: {error}", retry_after_s=1
            ) from None
        except BaseException:
            await made.stop()
            raise
        return made

    @property
    def pid(self) -> int | None:
        """The process id, for tests and diagnosis."""
        return self._process.pid if self._process else None

    @property
    def was_condemned(self) -> bool:
        """Whether `condemn` ended it."""
        return self._process is not None and self._process.was_condemned

    def ask(self, key: int, template: ChatTemplate, frame: bytes) -> None:
        """Send a question about the template, which has this key."""
        if self._transport is None:
            return
        if key in self._known:
            del self._known[key]
        else:
            self._transport.write(encode(Define(key, template)))
        self._known[key] = None  # the last one in is the last one out
        if len(self._known) > MAX_TEMPLATES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._transport.write(encode(Forget(oldest)))
        self._transport.write(frame)

    def condemn(self, why: str) -> None:
        """Kill it; `on_end` follows."""
        if self._process is not None:
            self._process.condemn(why)

    async def stop(self) -> None:
        """End it, whatever it does. May be called twice."""
        if self._transport is not None:
            self._transport.abort()
        if self._process is None:
            return
        if not self._is_lost:  # what has ended by itself needs only to be waited for
            self._process.condemn("it is not needed any more")
        await self._process.end()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        try:
            answers = [decode_from_worker(body) for body in self._frames.feed(data)]
        except (ValueError, msgspec.DecodeError):
            self.condemn("it says what it cannot mean")
            return
        for answer in answers:
            if not isinstance(answer, Ready):
                self._on_answer(self, answer)
            elif not self._ready.done():
                self._ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._ready.done():
            self._on_end(self)
        else:
            self._ready.set_exception(OSError("it ended at once"))

    # private

    async def _open(self, limit_s: float) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                ours.setblocking(False)
                self._process = await RunnerProcess.start(theirs, _MODULE, str(limit_s))
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
