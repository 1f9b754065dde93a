"""One connection to a server, and the exchange that is on it."""

import asyncio
import select
from collections.abc import AsyncIterable
from typing import Final, cast

import httpx2

from server.upstream.answer import Answer

# Of a body that nobody takes, this much is kept; then the sender is held back.
_MOST_WAITING_BYTES: Final = 256 << 10


class Channel(asyncio.Protocol):
    """Ask, then read to the end; after that another exchange may follow if `is_free`. Times are
    in seconds, None for ever; all that fails is an `httpx2.TransportError`."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._answer: Answer | None = None
        self._error: httpx2.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_sent = False
        self._is_lost = False
        self._is_held_back = False
        self._may_write = asyncio.Event()
        self._may_write.set()

    @property
    def is_free(self) -> bool:
        """Whether a new exchange may begin."""
        is_over = self._answer is None or (self._answer.may_follow and self._is_sent)
        # One that was held back has more to read than anybody took.
        return is_over and not self._is_lost and not self._is_held_back

    @property
    def is_quiet(self) -> bool:
        """Whether nothing comes from the other side, such as its end of an idle connection, that
        the loop has not seen yet."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """End it at once, whatever is on it."""
        self._is_lost = True
        self._transport.abort()

    async def ask(
        self,
        parts: AsyncIterable[bytes],
        *,
        has_body: bool,
        write_s: float | None,
        read_s: float | None,
    ) -> Answer:
        """Send a request; the answer when its head is there."""
        self._answer = answer = Answer(has_body=has_body)
        self._is_sent = await self._send(parts, answer, write_s)
        while not answer.has_head:
            await self._more(read_s)
        return answer

    async def read(self, answer: Answer, within_s: float | None) -> bytes:
        """What of the body is there, as soon as something is; empty at its end."""
        while not (data := answer.take()) and not answer.is_whole:
            await self._more(within_s)
        if self._is_held_back and not self._is_lost:
            self._is_held_back = False
            self._transport.resume_reading()
        return data

    async def _send(
        self, parts: AsyncIterable[bytes], answer: Answer, within_s: float | None
    ) -> bool:
        """Whether all of it went out: a server that answers before has heard enough."""
        async for part in parts:
            if self._is_lost or answer.has_head:
                return False
            self._transport.write(part)
            if not self._may_write.is_set():
                await self._drained(within_s)
        return True

    async def _drained(self, within_s: float | None) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._may_write.wait()
        except TimeoutError:
            raise httpx2.WriteTimeout("it takes nothing") from None

    async def _more(self, within_s: float | None) -> None:
        """Wait until something has come."""
        if self._error is not None:
            raise self._error
        if self._is_lost:
            raise httpx2.RemoteProtocolError("the connection has ended")
        self._waiter = waiter = self._loop.create_future()
        timer = None if within_s is None else self._loop.call_later(within_s, _silent, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or (self._answer.is_whole and self._answer.may_follow):
            self.abort()  # nobody has asked
            return
        try:
            self._answer.feed(data)
        except httpx2.TransportError as error:
            self._error = error
            self.abort()
        else:
            if self._answer.num_waiting > _MOST_WAITING_BYTES:
                self._is_held_back = True
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        try:
            if self._answer is not None and self._error is None:
                self._answer.end()
        except httpx2.TransportError as error:
            self._error = error
        self._may_write.set()
        self._wake()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()


def _silent(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(httpx2.ReadTimeout("it says nothing"))
