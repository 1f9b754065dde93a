"""One connection of a client: uvicorn's protocol, and the deadlines and bounds that it lacks.

uvicorn closes a connection that is idle between two requests and holds a sender back
above 64 KiB; nothing else. Without more, whoever sends a head byte by byte, or nothing,
holds a connection for ever, one that stops reading holds a slot, and a head may be of
any size. Here:

    head      complete within `header_s` of its first byte, or of the connection; at most
              `MAX_HEAD_BYTES`; else 408 or 431, or nothing where nothing has come
    body      `--body-timeout`, in `server.api.body`; for all of it, or of an upload for each
              silence in it; what comes after an early reply is thrown away for `header_s`,
              and up to 16 MiB of it
    reply     a client that takes nothing for `write_s` while replies wait for it is cut
              off: its request sees a disconnect and ends
    idle      `idle_s` between two requests
    number    `max_connections`; a few more are taken in so that health answers, and marked
              in the scope for the edge to refuse the rest in words; beyond these 503 at once
    pipeline  `MAX_PIPELINED` requests behind the one that is being answered

A request costs about 3 µs more with it, a frame of a reply nothing (measured).
"""

import asyncio
from asyncio import TimerHandle
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from server.traffic import Traffic

SURPLUS = "akash_llm_surplus"
NUM_SPARE = 32
MAX_HEAD_BYTES = 64 * 1024
MAX_PIPELINED = 16
# An answer to a client that still sends is left to it for so long: closing at once would
# take it away again.
_LINGER_S = 1.0
_MAX_THROWN_BYTES = 16 << 20


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection may take, in seconds, and how many there may be."""

    header_s: float
    idle_s: float
    write_s: float
    max_connections: int


class _Refused(Exception):
    """Ends the parser from within; uvicorn catches it."""


class Connection(HttpToolsProtocol):
    """Made by uvicorn for each connection."""

    def __init__(self, *args: Any, bounds: Bounds, traffic: Traffic, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._traffic = traffic
        self._running: RequestResponseCycle | None = None
        self._waiting: TimerHandle | None = None
        self._stalled: TimerHandle | None = None
        self._head_bytes = 0
        self._thrown_bytes = 0
        self._is_in_head = False
        self._is_surplus = False
        self._is_over = False
        self._refusal: tuple[int, str, str] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._traffic.num_connections = len(self.connections)
        num_surplus = len(self.connections) - self._bounds.max_connections
        self._is_surplus = num_surplus > 0
        if num_surplus > NUM_SPARE:
            self._end(503, "too many connections", "connections")
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            self._throw_away(data)
            return
        was_idle = self._is_idle
        super().data_received(data)
        if was_idle and self._is_idle:
            self._throw_away(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refusal = _LARGE_HEAD
                self.send_400_response("")
        if self._waiting is None and self._is_idle:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        self._forget_running()
        super().connection_lost(exc)
        self._traffic.num_connections = len(self.connections)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_watching()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    # what uvicorn's parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes, self._thrown_bytes = True, 0, 0
        if self._is_surplus:
            self.scope["state"][SURPLUS] = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_waiting()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._refusal = _LARGE_HEAD
            raise _Refused
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self._refusal = (503, "too many requests in one pipeline", "pipeline")
            raise _Refused
        if self.pipeline:
            self.flow.resume_reading()  # uvicorn stops, and would not see the client leave

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does when the parser gives up: here it never breaks into a reply that
        is under way."""
        status, text, reason = self._refusal or (400, "this is no HTTP request", "bad_request")
        running = self._running
        if running is None or running.response_complete:
            self._end(status, text, reason)
        elif running is self.cycle and running.more_body and not running.response_started:
            self._forget_running()
            self._end(status, text, reason)
        else:
            self._traffic.refuse(reason)
            self._hear_no_more(running)

    def on_response_complete(self) -> None:
        if self.transport.get_write_buffer_size():
            self._watch_reader()
        super().on_response_complete()
        if self.cycle.more_body and self.expect_100_continue:
            # It may send the body or not: nobody can tell what its next bytes are.
            self._close_soon()
        elif self._is_in_head:
            self._wait_for_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # deadlines

    @property
    def _is_idle(self) -> bool:
        return self._running is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._waiting is None and not self._is_over:
            self._waiting = self.loop.call_later(self._bounds.header_s, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _head_is_late(self) -> None:
        self._waiting = None
        if self._is_in_head:
            text = f"the head of the request did not arrive within {self._bounds.header_s:g} s"
            self._end(408, text, "header_deadline")
        else:
            self._close_soon()

    def _watch_reader(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(
                self._bounds.write_s, self._reader_is_late, self._running
            )

    def _stop_watching(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _reader_is_late(self, watched: RequestResponseCycle | None) -> None:
        self._stalled = None
        if not self.transport.get_write_buffer_size():
            return
        if self.flow.write_paused or self._running is watched:
            self._traffic.refuse("write_deadline")
            self.transport.abort()
        else:  # it took that reply, and there is another one
            self._watch_reader()

    # ends

    def _forget_running(self) -> None:
        """Tell the running request that its client is gone. uvicorn tells only the last one of
        a pipeline."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _throw_away(self, data: bytes) -> None:
        """What comes behind a reply that did not wait for its body, or behind the last one."""
        self._thrown_bytes += len(data)
        if self._thrown_bytes > _MAX_THROWN_BYTES:
            self.transport.abort()

    def _hear_no_more(self, running: RequestResponseCycle) -> None:
        """Answer what has been asked so far, then close."""
        self._is_over = True
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # what was being read when it went wrong
        last = self.pipeline[0][0] if self.pipeline else running
        last.keep_alive = False
        self.flow.resume_reading()

    def _end(self, status: int, text: str, reason: str) -> None:
        """Answer without the app, and close."""
        self._traffic.refuse(reason)
        body = msgspec.json.encode({"error": text})
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json; charset=utf-8\r\nconnection: close\r\n"
            + retry
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self._close_soon()

    def _close_soon(self) -> None:
        self._is_over = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.close)


_LARGE_HEAD = (431, f"the head of the request is larger than {MAX_HEAD_BYTES} bytes", "large_head")
