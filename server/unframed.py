"""Replies to a client of HTTP/1.0, which knows no chunks: the end of the connection ends them.

uvicorn writes chunks to every client when the length is not known (RFC 9112, 6.1: a server
must not). A reply of known length goes out as it is.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Unframed:
    """The app, for one request of HTTP/1.0."""

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._is_endless = False

    async def __call__(self, scope: Any, receive: Any, _: Any) -> None:
        await self._app(scope, receive, self._send)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            if b"content-length" not in names:
                self._is_endless = True
                self._cycle.chunked_encoding = False
        elif self._is_endless:
            # uvicorn counts: each part is as long as it should be.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)
