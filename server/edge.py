"""Around the app: request id, access log, counters, Origin and Host, room, key. Pure ASGI.

What is refused here never reaches a route, and wears the shape of the dialect that
owns the path. A server that is full or about to end still answers `ALWAYS_ANSWERED`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from server import auth, exchange, logs
from server.api.dialect import Dialect, dialect_of
from server.api.stream import error_headers
from server.attempts import ALLOWED, Attempts
from server.body_memory import Reservation
from server.connection import SURPLUS
from server.drain import Drain, ending
from server.errors import Overloaded, RateLimited, ServerError, Unauthorized
from server.exchange import Exchange
from server.keychain import Keychain
from server.origins import Origins
from server.settings import Settings

ALWAYS_ANSWERED = frozenset({"/health/live", "/health/ready", "/metrics"})
_RETRY_AFTER_S = 5
_log = logging.getLogger("akash_llm.access")


class Edge:
    """The outermost ASGI app."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keychain,
        drain: Drain,
        dialects: Sequence[Dialect],
    ) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._origins = Origins(settings.origins, is_loopback=settings.is_loopback)
        self._drain = drain
        self._traffic = drain.traffic
        self._dialects = dialects
        self._attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request_id = logs.begin_request(headers.get(logs.REQUEST_ID_HEADER.encode(), ""))
        served = self._exchange()
        exchange.begin(served)
        own = dialect_of(scope["path"], self._dialects).reply_headers()
        reply = _Reply(send, {logs.REQUEST_ID_HEADER: request_id, **own})
        with self._drain.request():
            try:
                await self._admit(scope, receive, reply, headers)
            except asyncio.CancelledError:  # uvicorn waits no longer for it
                if reply.status or not self._drain.is_on:
                    raise
                await self._refuse(scope, reply, ending())
            finally:
                served.body.release()
                self._ended(scope, reply, served)

    def _exchange(self) -> Exchange:
        return Exchange(
            begun_s=time.monotonic(),
            heartbeat_s=self._settings.heartbeat,
            body_timeout_s=self._settings.body_timeout,
            body=Reservation(self._traffic.bodies),
        )

    def _ended(self, scope: HTTPScope, reply: "_Reply", served: Exchange) -> None:
        status = reply.status or 499  # the client left before there was a reply
        self._traffic.answered(scope["method"], scope.get("path_template", ""), status)
        if not reply.is_logged:
            return
        duration_ms = (time.monotonic() - served.begun_s) * 1000
        _log.info("request", extra={"fields": _fields(scope, status, duration_ms, served)})

    async def _admit(
        self, scope: HTTPScope, receive: Receive, reply: "_Reply", headers: dict[bytes, str]
    ) -> None:
        host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
        if not self._origins.allows_host(host):
            await self._forbid(reply, "host")
            return
        if origin:
            if not self._origins.allows_origin(origin, host):
                await self._forbid(reply, "origin")
                return
            if scope["method"] == "OPTIONS":
                asked = headers.get(b"access-control-request-headers", "")
                await reply.finish(204, self._origins.preflight_headers(origin, asked))
                return
            reply.headers |= self._origins.cors_headers(origin)
        try:
            self._check_room(scope, reply)
            self._authenticate(scope, reply)
        except ServerError as error:
            await self._refuse(scope, reply, error)
            return
        await self._app(scope, receive, reply.send)

    async def _refuse(self, scope: HTTPScope, reply: "_Reply", error: ServerError) -> None:
        """An error in the shape of the path's dialect instead of a reply."""
        body = dialect_of(scope["path"], self._dialects).encode_error(error)
        await reply.finish(error.status, error_headers(error), body)

    async def _forbid(self, reply: "_Reply", reason: str) -> None:
        self._traffic.refuse(reason)
        await reply.finish(403)

    def _check_room(self, scope: HTTPScope, reply: "_Reply") -> None:
        """Raise `Overloaded` if the server ends, or has no room for this connection."""
        if scope["path"] in ALWAYS_ANSWERED:
            return
        if self._drain.is_on:
            reason, error = "draining", ending()
        elif scope["state"].get(SURPLUS):
            text = "server busy: too many connections"
            reason, error = "connections", Overloaded(text, retry_after_s=_RETRY_AFTER_S)
        else:
            return
        self._traffic.refuse(reason)
        reply.headers["connection"] = "close"
        raise error

    def _authenticate(self, scope: HTTPScope, reply: "_Reply") -> None:
        try:
            auth.authenticate(scope, self._keys)
        except Unauthorized as unauthorized:
            error = self._failed(scope, reply, unauthorized)
            self._traffic.refuse(error.code)
            raise error from None
        if served := exchange.current():
            served.key = auth.name_of(scope)

    def _failed(self, scope: HTTPScope, reply: "_Reply", error: Unauthorized) -> ServerError:
        """What an address is told that has no key, and has had none too often."""
        address, now = (scope["client"] or ("",))[0], time.monotonic()
        count = self._attempts.fail(address, now)
        if count <= ALLOWED:
            return error
        reply.is_logged = False
        if count == ALLOWED + 1:
            _log.warning("%s had no key that is known too often: not logged for a while", address)
        wait_s = self._attempts.wait_s(address, now)
        return RateLimited(
            f"too many requests without a key that is known: {error.message}",
            retry_after_s=math.ceil(wait_s),
        )


class _Reply:
    """A reply on its way: adds headers, remembers the status."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self.headers = headers
        self.status = 0
        self.is_logged = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = [(k.encode(), v.encode("latin-1")) for k, v in self.headers.items()]
            message["headers"] = [*message["headers"], *added]
        await self._send(message)

    async def finish(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        """A whole reply from here."""
        own = {**(headers or {}), "content-length": str(len(body))}
        encoded = [(k.encode(), v.encode("latin-1")) for k, v in own.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def _fields(scope: HTTPScope, status: int, duration_ms: float, served: Exchange) -> dict[str, Any]:
    """The line of a request in the log; what it has nothing of is left out."""
    fields: dict[str, Any] = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_ms": round(duration_ms, 1),
        "key": auth.name_of(scope),
    }
    if served.model:
        fields["model"] = served.model
        fields["prompt_tokens"] = served.prompt_tokens
        fields["output_tokens"] = served.output_tokens
    if served.ttft_s is not None:
        fields["ttft_ms"] = round(served.ttft_s * 1000, 1)
    if served.end:
        fields["end"] = served.end
    return fields
