"""Events of the core on their way to a client: framing, errors, and clients that leave.

A reply is an ASGI app. An error before the first byte is a real status in the
dialect's shape, one after it a last frame in the stream. When the client goes away
the events are closed, which cancels the generation, streaming or not.

A stream that has been silent for a while says so with a frame that means nothing, since
proxies on the way cut what is silent; with it the headers go out, so an error after it is
one in the stream. A reply in one piece cannot be bridged like that.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server import exchange
from server.api.events import Event, Events, Started
from server.errors import RateLimited, ServerError

JSON = "application/json; charset=utf-8"
_log = logging.getLogger("akash_llm.api")


class WholeEncoder(Protocol):
    """How a dialect writes a reply in one piece."""

    def whole(self, events: list[Event]) -> bytes:
        """The reply as one body."""

    def error(self, error: ServerError) -> bytes:
        """The body of an error instead of a reply."""


class Encoder(WholeEncoder, Protocol):
    """How a dialect writes a reply. Made for one request, fed with its events in order."""

    stream_type: str

    def frame(self, event: Event) -> bytes:
        """What goes into the stream for an event; may be nothing."""

    def failure(self, error: ServerError) -> bytes:
        """What ends a stream that has begun and cannot go on."""

    def heartbeat(self) -> bytes:
        """A frame that changes nothing, for a stream that is silent; empty if there is none
        now."""


def reply(body: bytes, *, status: int = 200, media_type: str = JSON) -> ASGIApp:
    """A reply that is there already."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await _send_whole(send, body, status, {"content-type": media_type})

    return app


def reply_with_events(
    events: Events, encoder: Encoder, *, stream: bool, heartbeat_s: float | None = None
) -> ASGIApp:
    """A reply made of events, in one piece or as a stream.

    `heartbeat_s` is how long a stream may be silent, 0 for ever; None leaves it to the
    settings.
    """
    if stream:
        silence_s = _heartbeat_s() if heartbeat_s is None else heartbeat_s
        return _reply(
            events, lambda send: _deliver_stream(events, _Stream(encoder, send), silence_s)
        )
    return reply_with_whole(events, encoder)


def reply_with_whole(events: Events, encoder: WholeEncoder) -> ASGIApp:
    """A reply made of events in one piece."""
    return _reply(events, lambda send: _deliver_whole(events, encoder, send))


def _reply(events: Events, deliver: Callable[[Send], Coroutine[Any, Any, None]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sender = _Sender(send)

        async def work() -> None:
            async with aclosing(events):
                await deliver(sender)

        await _while_connected(receive, work(), sender)

    return app


class _Sender:
    """Sends, and knows whether the reply is over: uvicorn tells a client that has all of it
    from one that left by nothing."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_over = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.is_over = not message["more_body"]
        await self._send(message)


def error_headers(error: ServerError) -> dict[str, str]:
    """The headers that go with an error in any dialect."""
    headers = {"content-type": JSON}
    if error.hint:
        headers["x-error-hint"] = error.hint.encode("ascii", "replace").decode()
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, RateLimited):
        headers |= error.headers
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="akash-llm"'
    return headers


def expected(error: Exception) -> ServerError:
    """The error as a client may see it; one that nobody foresaw is logged."""
    if isinstance(error, ServerError):
        seen = error
    else:
        _log.error("unexpected error", exc_info=error)
        seen = ServerError("internal server error")
    if served := exchange.current():
        served.end = seen.code
    return seen


def _heartbeat_s() -> float:
    served = exchange.current()
    return served.heartbeat_s if served else 0


async def send_error(send: Send, error: ServerError, body: bytes) -> None:
    """An error instead of a reply."""
    await _send_whole(send, body, error.status, error_headers(error))


async def _deliver_whole(events: Events, encoder: WholeEncoder, send: Send) -> None:
    try:
        seen = [event async for event in events]
        body = encoder.whole(seen)
    except Exception as raised:  # noqa: BLE001 - the edge: the client gets a reply
        error = expected(raised)
        await send_error(send, error, encoder.error(error))
        return
    await _send_whole(send, body, 200, {"content-type": JSON, **_facts(seen[0])})


async def _deliver_stream(events: Events, stream: "_Stream", heartbeat_s: float) -> None:
    beating = asyncio.create_task(stream.bridge(heartbeat_s))
    try:
        async for event in events:
            await stream.put(event)
    except Exception as raised:  # noqa: BLE001 - the edge, as above
        await stream.fail(expected(raised))
    else:
        await stream.end()
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


class _Stream:
    """A reply in frames. It begins with the first event that shows that the engine is at
    work, or with a heartbeat."""

    def __init__(self, encoder: Encoder, send: Send) -> None:
        self._encoder = encoder
        self._send = send
        self._headers = {"content-type": encoder.stream_type}
        self._held = b""
        self._has_begun = False
        self._sent_s = time.monotonic()
        self._sending = asyncio.Lock()

    async def put(self, event: Event) -> None:
        """The next event."""
        frame = self._encoder.frame(event)
        if isinstance(event, Started) and not self._has_begun:
            self._headers |= _facts(event)
            self._held += frame
        else:
            await self._write(frame)

    async def fail(self, error: ServerError) -> None:
        """Nothing comes any more because of an error."""
        if self._has_begun:
            await self._write(self._encoder.failure(error))
            await _send_body(self._send, b"", more=False)
        else:
            await send_error(self._send, error, self._encoder.error(error))

    async def end(self) -> None:
        """All events were put."""
        await self._write(b"")
        await _send_body(self._send, b"", more=False)

    async def bridge(self, silence_s: float) -> None:
        """Send a heartbeat whenever nothing was sent for so long; 0: never."""
        while silence_s:
            left_s = self._sent_s + silence_s - time.monotonic()
            if left_s <= 0 and (frame := self._encoder.heartbeat()):
                await self._write(frame)
            else:
                await asyncio.sleep(left_s if left_s > 0 else silence_s)

    async def _write(self, frame: bytes) -> None:
        async with self._sending:  # a heartbeat and an event may come at once
            if not self._has_begun:
                self._has_begun = True
                await _send_start(self._send, 200, self._headers)
            frame, self._held = self._held + frame, b""
            if frame:
                await _send_body(self._send, frame, more=True)
            self._sent_s = time.monotonic()


def _facts(event: Event) -> dict[str, str]:
    """What the prompt lost and got and what the caller has left, as headers."""
    if not isinstance(event, Started):
        return {}
    headers = dict(event.quota)
    if event.truncated_tokens:
        headers["x-truncated-tokens"] = str(event.truncated_tokens)
    if event.asked_context is not None and event.asked_context != event.context:
        headers["x-num-ctx"] = str(event.context)
    if not event.has_template:
        headers["x-chat-template"] = "plain"
    if event.ignored:
        headers["x-ignored-options"] = ", ".join(event.ignored)
    return headers


async def _while_connected(
    receive: Receive, work: Coroutine[Any, Any, None], sender: _Sender
) -> None:
    """Do the work, but only for as long as the client is there or has all of its reply."""
    worker = asyncio.create_task(work)
    watcher = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
        if sender.is_over:
            await asyncio.wait((worker,))
    finally:
        was_done = worker.done()
        for task in (worker, watcher):
            task.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)
    if was_done:
        worker.result()
    else:
        _log.info("the client went away")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_whole(send: Send, body: bytes, status: int, headers: Mapping[str, str]) -> None:
    await _send_start(send, status, {**headers, "content-length": str(len(body))})
    await _send_body(send, body, more=False)


async def _send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _send_body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
