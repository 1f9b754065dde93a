"""The REST API of the chain, as far as certificates go, on a real port."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.support.certificates import KeyPair

PATH = "/akash/cert/v1/certificates/list"


class ChainApi:
    """`asked` holds the filters of every request; `answer` replaces what it would say."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: bytes | None = None
        self._listed: list[tuple[str, str, KeyPair]] = []

    def publish(self, owner: str, serial: int, pair: KeyPair) -> None:
        """List a certificate as a valid one."""
        self._listed.append((owner, str(serial), pair))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["ChainApi"]:
        """Listen while the context is open; `url` is where."""
        async with serve(_no_socket, "127.0.0.1", 0, process_request=self._answer) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    def _answer(self, connection: ServerConnection, request: Request) -> Response:
        url = urlsplit(request.path)
        if url.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "")
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append(asked)
        wanted = (asked["filter.owner"], asked["filter.serial"])
        found = [_record(*one) for one in self._listed if one[:2] == wanted]
        body = msgspec.json.encode({"certificates": found, "pagination": {"total": len(found)}})
        return connection.respond(HTTPStatus.OK, (self.answer or body).decode())


async def _no_socket(connection: ServerConnection) -> None:
    """Never reached: every request is answered before the upgrade."""


def _record(owner: str, serial: str, pair: KeyPair) -> dict[str, object]:
    encoded = b64encode(pair.certificate.read_bytes()).decode()
    return {"certificate": {"state": "valid", "cert": encoded, "pubkey": ""}, "serial": serial}
