"""A provider's gateway on a real port: TLS 1.3, tokens, status, and the sockets of its leases.

It sends what the real one sends: the last lines of each pod, then new ones; all events
that it still has, then new ones. A script of faults, one for each socket in turn, says
what goes wrong. It runs on the loop of the test.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.certificates import KeyPair
from tests.support.provider_lease import HostedLease
from tests.support.provider_tokens import Issuer, Refused
from toolkit.deploy.provider.token import Scope

HOST = "localhost"
LEASE_PATH = "/lease/1234/1/1"
SCOPES = {"status": Scope.STATUS, "logs": Scope.LOGS, "kubeevents": Scope.EVENTS}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with one socket.

    `status`: the upgrade is answered with it. `first` is sent before anything else.
    `frames`: so many are sent as they should be; then the socket ends with `code` (None: the
    connection is torn), or is held open in silence where it `stalls`. A deaf one reads
    nothing from the start, no ping either.
    """

    status: int | None = None
    location: str | None = None
    first: tuple[str | bytes, ...] = ()
    frames: int | None = None
    code: int | None = None
    reason: str = ""
    stalls: bool = False
    is_deaf: bool = False


GOOD = Fault()

Find = Callable[[str], HostedLease | None]
"""The lease at a path such as `LEASE_PATH`, None where there is none (any more)."""


class Seen(NamedTuple):
    """A request: its path, its parameters and its header with the token."""

    path: str
    query: dict[str, str]
    authorization: str | None


class ProviderGateway:
    """`faults` are used up by sockets in turn; `seen` is every request so far,
    `num_open` counts the sockets that are open. `lease` is the one it has at `LEASE_PATH`,
    unless `find` says which there are."""

    def __init__(self, pair: KeyPair, issuer: Issuer, find: Find | None = None) -> None:
        self.issuer = issuer
        self.lease = HostedLease()
        self._find: Find = find or {LEASE_PATH: self.lease}.get
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.port = 0
        self._changed = asyncio.Condition()
        self.num_open = 0
        self._scripts: dict[ServerConnection, Fault] = {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.present(pair)

    @property
    def uri(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def sockets(self) -> list[Seen]:
        """The requests for sockets."""
        return [seen for seen in self.seen if not seen.path.endswith("/status")]

    def present(self, pair: KeyPair) -> None:
        """Show this certificate from now on."""
        self.tls.load_cert_chain(pair.certificate, pair.key)

    async def until_sockets(self, count: int) -> None:
        """Return once so many sockets were asked for."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.sockets) >= count)

    async def until_left(self) -> None:
        """Return once no socket is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.num_open)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["ProviderGateway"]:
        """Listen while the context is open."""
        async with serve(
            self._stream,
            "127.0.0.1",
            self.port,
            ssl=self.tls,
            process_request=self._answer,
            ping_interval=10,
            ping_timeout=15,
            close_timeout=1,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        seen = Seen(url.path, query, request.headers.get("Authorization"))
        async with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()
        lease, _, what = url.path.rpartition("/")
        if what not in SCOPES:
            return _response(connection, 404, {"message": "not found"})
        try:
            self.issuer.check(seen.authorization, SCOPES[what])
        except Refused as refused:
            return _response(connection, refused.status, {"message": refused.message})
        if what == "status":
            hosted = self._find(lease)
            answer = (404, {"message": "lease not found"}) if hosted is None else hosted.status
            return _response(connection, *answer)
        return self._scripted(connection)

    def _scripted(self, connection: ServerConnection) -> Response | None:
        fault = self.faults.popleft() if self.faults else GOOD
        self._scripts[connection] = fault
        if fault.status is None:
            return None
        response = _response(connection, fault.status, {"message": "no"})
        if fault.location is not None:
            response.headers["Location"] = fault.location
        return response

    async def _stream(self, connection: ServerConnection) -> None:
        self.num_open += 1
        try:
            await self._run(connection, self._scripts.pop(connection))
        finally:
            async with self._changed:
                self.num_open -= 1
                self._changed.notify_all()

    async def _run(self, connection: ServerConnection, fault: Fault) -> None:
        sending = asyncio.create_task(self._send(connection, fault))
        gone = asyncio.create_task(connection.wait_closed())
        await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, gone):
            task.cancel()
        with suppress(ConnectionClosed, asyncio.CancelledError):
            await sending
        if fault.code is not None:
            await connection.close(fault.code, fault.reason)
        else:
            connection.transport.close()  # as the real one ends: without a word

    async def _send(self, connection: ServerConnection, fault: Fault) -> None:
        if fault.is_deaf:
            connection.transport.pause_reading()
        for frame in fault.first:
            await connection.send(frame)
        if fault.frames != 0:
            async with aclosing(self._frames(connection)) as frames:
                sent = 0
                async for frame in frames:
                    await connection.send(frame)
                    sent += 1
                    if sent == fault.frames:
                        break
        if fault.stalls:
            await connection.wait_closed()

    async def _frames(self, connection: ServerConnection) -> AsyncGenerator[str, None]:
        assert connection.request is not None
        url = urlsplit(connection.request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        lease, _, what = url.path.rpartition("/")
        hosted = self._find(lease)
        if hosted is None:
            await connection.close(4001, "lease not found")
            return
        if what == "logs" and not hosted.has_pods:
            await connection.close(4000, "no running pods")
            return
        feed = hosted.logs if what == "logs" else hosted.events
        async with aclosing(feed.frames(query, lambda: self._find(lease) is not None)) as frames:
            async for frame in frames:
                yield frame


def _response(connection: ServerConnection, status: int, body: object) -> Response:
    text = "" if body is None else msgspec.json.encode(body).decode()
    return connection.respond(HTTPStatus(status), text)
