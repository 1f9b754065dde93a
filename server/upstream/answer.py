"""One answer of HTTP/1.1 as it comes in, read by the parser in C that serves our clients, too.

What comes is hostile: nothing in it makes more memory be taken than the reader has room for, a
head or the framing of a body has an end, and what follows an answer is never taken for another.
"""

from typing import Final

import httptools
import httpx2

# What may come in a row that is no body: a head, the framing of chunks, trailers.
MOST_FRAMING_BYTES: Final = 256 << 10
_TELLS_LENGTH: Final = (b"content-length", b"transfer-encoding")


class Answer:
    """Feed it what the connection brings, and take what of the body is there. `may_follow`:
    another exchange may use the connection once it `is_whole`."""

    def __init__(self, *, has_body: bool) -> None:
        """To a HEAD nothing but the head is answered, whatever it says of a body."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.is_whole = False
        self.may_follow = False
        self.num_waiting = 0
        self._has_body = has_body
        self._parts: list[bytes] = []
        self._num_framing = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises `httpx2.RemoteProtocolError` for what is no HTTP."""
        self._num_framing += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise httpx2.RemoteProtocolError(f"no HTTP: {error}") from None
        if self._num_framing > MOST_FRAMING_BYTES and not self.is_whole:
            raise httpx2.RemoteProtocolError("a head or a frame without end")

    def end(self) -> None:
        """The connection has ended, which may be how the body does. Raises
        `httpx2.RemoteProtocolError` if it is not."""
        is_told = any(name.lower() in _TELLS_LENGTH for name, _ in self.headers)
        if not self.is_whole and (not self.has_head or is_told):
            raise httpx2.RemoteProtocolError("the connection ended within an answer")
        self.is_whole, self.may_follow = True, False

    def take(self) -> bytes:
        """What of the body has come since the last time."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.num_waiting = 0
        return data

    # what the parser calls

    def on_message_begin(self) -> None:
        if self.is_whole:
            self.may_follow = False  # nobody has asked for that

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.is_whole or status < 200:
            return
        self.status, self.has_head = status, True
        if not self._has_body:
            self.is_whole = True

    def on_body(self, data: bytes) -> None:
        if not self.is_whole:
            self._parts.append(data)
            self.num_waiting += len(data)
            self._num_framing = 0

    def on_message_complete(self) -> None:
        if not self.has_head:
            self.headers.clear()  # a "100 Continue" and the like
        elif not self.is_whole:
            self.is_whole = True
            self.may_follow = self._parser.should_keep_alive()
