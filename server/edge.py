"""Around the app: request id, access log, Origin and Host, key. Pure ASGI.

What is refused here never reaches a route, and wears the shape of the dialect that
owns the path.
"""

import logging
import time
from collections.abc import Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from server import auth, logs
from server.api.dialect import Dialect, dialect_of
from server.api.stream import error_headers
from server.errors import ServerError
from server.keys import KeyRing
from server.origins import Origins

_log = logging.getLogger("akash_llm.access")


class Edge:
    """The outermost ASGI app."""

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, origins: Origins, dialects: Sequence[Dialect]
    ) -> None:
        self._app = app
        self._keys = keys
        self._origins = origins
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request_id = logs.begin_request(headers.get(logs.REQUEST_ID_HEADER.encode(), ""))
        own = dialect_of(scope["path"], self._dialects).reply_headers()
        exchange = _Exchange(send, {logs.REQUEST_ID_HEADER: request_id, **own})
        begun = time.monotonic()
        try:
            await self._admit(scope, receive, exchange, headers)
        finally:
            duration_ms = (time.monotonic() - begun) * 1000
            _log_access(scope, exchange.status, duration_ms)

    async def _admit(
        self, scope: HTTPScope, receive: Receive, exchange: "_Exchange", headers: dict[bytes, str]
    ) -> None:
        host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
        if not self._origins.allows_host(host):
            await exchange.finish(403)
            return
        if origin:
            if not self._origins.allows_origin(origin, host):
                await exchange.finish(403)
                return
            if scope["method"] == "OPTIONS":
                await exchange.finish(204, self._origins.preflight_headers(origin))
                return
            exchange.headers |= self._origins.cors_headers(origin)
        try:
            auth.authenticate(scope, self._keys)
        except ServerError as error:
            body = dialect_of(scope["path"], self._dialects).encode_error(error)
            await exchange.finish(error.status, error_headers(error), body)
            return
        await self._app(scope, receive, exchange.send)


class _Exchange:
    """A reply on its way: adds headers, remembers the status."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self.headers = headers
        self.status = 0

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


def _log_access(scope: HTTPScope, status: int, duration_ms: float) -> None:
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status or 499,  # the client left before there was a reply
        "duration_ms": round(duration_ms, 1),
        "key": auth.owner_of(scope),
    }
    _log.info("request", extra={"fields": fields})
