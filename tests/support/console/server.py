"""The Console on a real port of loopback, in a thread of this process.

Everything that is asked and answered is held against the types of the client and, where it
is at hand, the published document. What does not fit is answered with 500, kept in
`complaints`, and raised when the server ends, so that no test passes over it.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.console import routes
from tests.support.console.document import OpenApi, published
from tests.support.console.faults import CUT, Canned, Fault, Script
from tests.support.console.handlers import Asked
from tests.support.console.states import Refusal
from tests.support.console.world import World
from toolkit.deploy.console.decoding import Unreadable, decode

_LOOKS = ("/v1/bids", "/v1/deployments/")
KEY = "ac.sk.production." + "c0ffee" * 10


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class ConsoleServer:
    """Use as a context manager. `script` takes faults, `seen` has what came.

    Each look at a deployment or its bids takes `blocks_per_look`: that is how time goes by for
    who polls.
    """

    def __init__(self, world: World, *, key: str = KEY, blocks_per_look: int = 0) -> None:
        self.world = world
        self.blocks_per_look = blocks_per_look
        self.key = key
        self.script = Script()
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        # Called with each request before it has its effect; True: it has none any more.
        self.before: Callable[[], bool] | None = None
        self.after: Callable[[], object] | None = None
        # The document is of the newer Console.
        self._document: OpenApi | None = published() if world.is_newer else None
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        if kind is None:
            assert not self.complaints, self.complaints

    def count(self, method: str, path: str) -> int:
        """How many of these requests came, however they ended."""
        return sum((each.method, each.path) == (method, path) for each in self.seen)

    def answer(self, seen: Seen) -> Canned:
        """What the request gets, faults and all."""
        with self._lock:
            self.seen.append(seen)
            fault = self.script.take(seen.method, seen.path)
        if fault is not None and not fault.after and (answer := _strike(fault)):
            return answer
        if self.before is not None and self.before():
            return CUT
        with self._lock:
            if seen.method == "GET" and seen.path.startswith(_LOOKS):
                self.world.advance(self.blocks_per_look)
            answer = self._ordinary(seen)
        if self.after is not None:
            self.after()
        if fault is not None and fault.after:
            return _strike(fault) or answer
        return answer

    def _ordinary(self, seen: Seen) -> Canned:
        try:
            status, reply = self._dispatched(seen)
        except Refusal as refusal:
            status, reply = refusal.status, _error(refusal)
        except AssertionError as error:
            self.complaints.append(str(error))
            status, reply = 500, _error(Refusal(500, str(error)))
        self._check_answer(seen, status, reply)
        return Canned(status, json.dumps(reply).encode())

    def _dispatched(self, seen: Seen) -> tuple[int, Any]:
        key = seen.headers.get("x-api-key")
        if key is not None and key != self.key:
            raise Refusal(401, "Invalid API key")
        found = routes.matching(seen.method, seen.path)
        if found is None or (found[0].is_newer and not self.world.is_newer):
            raise Refusal(404, "Not Found")
        route, parts = found
        if key is None and not route.is_public:
            raise Refusal(401, "Unauthorized")
        assert not (route.is_public and key), f"{seen.path} needs no key, and got one"
        body = self._read(seen, route)
        reply = route.do(Asked(self.world, parts, seen.query, body))
        status, reply = reply if isinstance(reply, tuple) else (route.status, reply)
        try:
            decode(json.dumps(reply).encode(), route.answer)
        except Unreadable as error:
            raise AssertionError(f"answer to {seen.method} {seen.path}: {error}") from None
        return status, reply

    def _read(self, seen: Seen, route: routes.Route) -> Any:
        if seen.body and seen.headers.get("content-type") != "application/json":
            raise Refusal(400, "Content-Type has to be application/json")
        body = json.loads(seen.body) if seen.body else None
        routes.check_body(route, body)
        if self._document is not None:
            complaint = self._document.complaint_of_request(
                seen.method, seen.path, seen.query, body
            )
            assert complaint is None, complaint
        return body

    def _check_answer(self, seen: Seen, status: int, reply: Any) -> None:
        if self._document is None or self.complaints:
            return
        args = (seen.method, seen.path, status, reply)
        if complaint := self._document.complaint_of_answer(*args):
            self.complaints.append(f"{seen.method} {seen.path} {status}: {complaint}")


def _strike(fault: Fault) -> Canned | None:
    if fault.do is not None:
        fault.do()
    return fault.answer


def _error(refusal: Refusal) -> dict[str, Any]:
    data = {} if refusal.data is None else {"data": refusal.data}
    return {
        "error": type(refusal).__name__,
        "message": refusal.message,
        "code": refusal.code,
        "type": "error",
        **data,
    }


def _handler(server: ConsoleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            split = urlsplit(self.path)
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            query = dict(parse_qsl(split.query))
            answer = server.answer(Seen(self.command, split.path, query, headers, body))
            with suppress(ConnectionError):  # the client may have given up
                self._send(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

        def _send(self, answer: Canned) -> None:
            self.close_connection = True
            if answer.body is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            is_json = answer.body[:1] in (b"{", b"[")
            self.send_response(answer.status)
            self.send_header("content-type", "application/json" if is_json else "text/html")
            self.send_header("content-length", str(len(answer.body)))
            self.send_header("connection", "close")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
