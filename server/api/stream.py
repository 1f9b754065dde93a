"""Events of the core on their way to a client: framing, errors, and clients that leave.

A reply is an ASGI app. An error before the first byte is a real status in the
dialect's shape, one after it a last frame in the stream. When the client goes away
the events are closed, which cancels the generation, streaming or not.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from litestar.types import ASGIApp, Receive, Scope, Send

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


def reply(body: bytes, *, status: int = 200, media_type: str = JSON) -> ASGIApp:
    """A reply that is there already."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await _send_whole(send, body, status, {"content-type": media_type})

    return app


def reply_with_events(events: Events, encoder: Encoder, *, stream: bool) -> ASGIApp:
    """A reply made of events, in one piece or as a stream."""
    if stream:
        return _reply(events, lambda send: _deliver_stream(events, encoder, send))
    return reply_with_whole(events, encoder)


def reply_with_whole(events: Events, encoder: WholeEncoder) -> ASGIApp:
    """A reply made of events in one piece."""
    return _reply(events, lambda send: _deliver_whole(events, encoder, send))


def _reply(events: Events, deliver: Callable[[Send], Coroutine[Any, Any, None]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def work() -> None:
            async with aclosing(events):
                await deliver(send)

        await _while_connected(receive, work())

    return app


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
        return error
    _log.error("unexpected error", exc_info=error)
    return ServerError("internal server error")


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


async def _deliver_stream(events: Events, encoder: Encoder, send: Send) -> None:
    try:
        begun = await _begin(events)
    except Exception as raised:  # noqa: BLE001 - the edge, as above
        error = expected(raised)
        await send_error(send, error, encoder.error(error))
        return
    await _send_start(send, 200, {"content-type": encoder.stream_type, **_facts(begun[0])})
    try:
        for event in begun:
            await _send_frame(send, encoder.frame(event))
        async for event in events:
            await _send_frame(send, encoder.frame(event))
    except Exception as raised:  # noqa: BLE001 - the edge, as above
        await _send_body(send, encoder.failure(expected(raised)), more=True)
    await _send_body(send, b"", more=False)


async def _begin(events: Events) -> list[Event]:
    """The events up to the first that shows that the engine is at work."""
    begun: list[Event] = []
    async for event in events:
        begun.append(event)
        if not isinstance(event, Started):
            break
    return begun


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
    return headers


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, but only for as long as the client is there."""
    worker = asyncio.create_task(work)
    watcher = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
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


async def _send_frame(send: Send, frame: bytes) -> None:
    if frame:
        await _send_body(send, frame, more=True)


async def _send_whole(send: Send, body: bytes, status: int, headers: Mapping[str, str]) -> None:
    await _send_start(send, status, {**headers, "content-length": str(len(body))})
    await _send_body(send, body, more=False)


async def _send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _send_body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
