"""HTTP/1.1 without TLS as a transport for httpx2, for upstreams that stand beside the gateway:
on a port, or on a socket in a folder that keeps others of the machine out.

Every token of every reply passes here. httpx2's own transport parses in Python, through many
layers: a quarter of all that a gateway computes for a token.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import chain
from typing import Final, cast

import httpx2

from server.address import SOCKET
from server.upstream.answer import Answer
from server.upstream.channel import Channel

# Servers end connections that are idle for 5 s (uvicorn); one that is just being ended must not
# be used again.
_IDLE_S: Final = 3.0
_MOST_IDLE: Final = 64
# The address of what is asked over a socket, which nobody resolves.
_OVER_SOCKET: Final = "http://localhost"
_Origin = tuple[str, int]


def base_of(url: str) -> str:
    """What the addresses of requests to a server begin with."""
    return _OVER_SOCKET if url.startswith(SOCKET) else url


def transport_to(url: str) -> httpx2.AsyncBaseTransport:
    """The way to a server: this one, over TLS httpx2's. How many requests may be at work is for
    others to decide."""
    if url.startswith(SOCKET):
        return PlainTransport(_MOST_IDLE, _IDLE_S, socket=url.removeprefix(SOCKET))
    if url.startswith("http://"):
        return PlainTransport(_MOST_IDLE, _IDLE_S)
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=_MOST_IDLE, keepalive_expiry=_IDLE_S
    )
    return httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)


class PlainTransport(httpx2.AsyncBaseTransport):
    """Connections to servers, any number of them; all to the one on a `socket` if there is one.
    `most_idle` to one are kept behind an exchange, for `idle_s`."""

    def __init__(self, most_idle: int, idle_s: float, *, socket: str = "") -> None:
        self._most_idle = most_idle
        self._idle_s = idle_s
        self._socket = socket
        self._idle: dict[_Origin, list[Channel]] = {}
        self._busy: set[Channel] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        origin = (request.url.host, request.url.port or 80)
        times = request.extensions.get("timeout", {})
        parts = _parts(request)
        channel = self._kept(origin) or await self._connect(origin, times.get("connect"))
        self._busy.add(channel)
        try:
            answer = await channel.ask(
                parts,
                has_body=request.method != "HEAD",
                write_s=times.get("write"),
                read_s=times.get("read"),
            )
        except BaseException:
            self._busy.discard(channel)
            channel.abort()
            raise
        finally:
            await parts.aclose()
        body = _Body(self, origin, channel, answer, times.get("read"))
        return httpx2.Response(answer.status, headers=answer.headers, stream=body)

    async def aclose(self) -> None:
        """End all connections; what is read of one is broken off."""
        for channel in (*self._busy, *chain.from_iterable(self._idle.values())):
            channel.abort()
        self._idle.clear()

    def keep(self, origin: _Origin, channel: Channel) -> None:
        """Take back a connection: for the next request if one may follow."""
        self._busy.discard(channel)
        kept = self._idle.setdefault(origin, [])
        now_s = channel.idle_since_s = asyncio.get_running_loop().time()
        if channel.is_free:
            kept.append(channel)
        else:
            channel.abort()
        # Those that have waited longest stand in front.
        while kept and (len(kept) > self._most_idle or now_s - kept[0].idle_since_s > self._idle_s):
            kept.pop(0).abort()

    async def _connect(self, origin: _Origin, within_s: float | None) -> Channel:
        """A new connection. Raises `httpx2.ConnectError`, `httpx2.ConnectTimeout`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                if self._socket:
                    return (await loop.create_unix_connection(Channel, self._socket))[1]
                return (await loop.create_connection(Channel, *origin))[1]
        except TimeoutError:
            where = self._socket or "{}:{}".format(*origin)
            raise httpx2.ConnectTimeout(f"{where} does not answer") from None
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from None

    def _kept(self, origin: _Origin) -> Channel | None:
        least_s = asyncio.get_running_loop().time() - self._idle_s
        kept = self._idle.get(origin, [])
        while kept:
            channel = kept.pop()
            if channel.is_free and channel.idle_since_s >= least_s and channel.is_quiet:
                return channel
            channel.abort()
        return None


class _Body(httpx2.AsyncByteStream):
    """The body of an answer; closing it early ends the connection."""

    def __init__(
        self,
        transport: PlainTransport,
        origin: _Origin,
        channel: Channel,
        answer: Answer,
        within_s: float | None,
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._channel = channel
        self._answer = answer
        self._within_s = within_s
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._channel.read(self._answer, self._within_s):
            yield data

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._transport.keep(self._origin, self._channel)


async def _parts(request: httpx2.Request) -> AsyncGenerator[bytes, None]:
    """A request as bytes; its head and the first of its body together."""
    stream = cast(httpx2.AsyncByteStream, request.stream)
    is_chunked = request.headers.get("transfer-encoding") == "chunked"
    head = _head(request)
    async for data in stream:
        sent = b"%x\r\n%b\r\n" % (len(data), data) if is_chunked and data else data
        yield head + sent
        head = b""
    if head or is_chunked:
        yield head + (b"0\r\n\r\n" if is_chunked else b"")


def _head(request: httpx2.Request) -> bytes:
    """Raises `httpx2.LocalProtocolError` for a line in a header."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx2.LocalProtocolError("a line break in a header")
    return b"\r\n".join([*lines, b"", b""])
