"""Where leases are reached: one TLS server that answers for every endpoint of the world.

It stands for the providers' ingress and our server behind it. A request is let in by a key
whose digest is in the SDL of a deployment that has a lease; what it answers is short.
"""

import hashlib
import json
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.certificates import self_signed
from tests.support.console.world import World

LINE = {
    "created_at": "2026-01-01T00:00:00Z",
    "response": "Hi",
    "message": {"role": "assistant", "content": "Hi"},
    "done": True,
    "done_reason": "length",
    "prompt_eval_count": 3,
    "eval_count": 1,
    "eval_duration": 1_000_000,
}


class Ingress:
    """Use as a context manager; the leases of `world` have its address then.

    While `is_down` it refuses; `idle_s` is what it tells of how long nobody has asked. The next
    requests for an answer are refused with the `refusals`.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.is_down = False
        self.is_loading = False
        self.idle_s = 0.0
        self.refusals: list[int] = []
        self.certificate = self_signed(folder, "ingress")
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.certificate, self.certificate.key)
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.address = f"127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self.world.ingress = self.address
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def refusal(self) -> int | None:
        """The status that the next request for an answer is refused with."""
        if self.is_down:
            return 503
        return self.refusals.pop(0) if self.refusals else None

    def admits(self, key: str) -> bool:
        """Whether a deployment that has a lease knows the key."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        return any(
            digest in each.sdl_text for each in self.world.deployments.values() if each.leases
        )


def _model_in(body: bytes) -> str:
    """The model that is asked for; empty where who asked has gone half way."""
    with suppress(json.JSONDecodeError):
        return str(json.loads(body).get("model", ""))
    return ""


def _handler(ingress: Ingress) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health/ready":
                is_ready = not (ingress.is_down or ingress.is_loading)
                self._answer(200 if is_ready else 503, {"reason": "the weights are on their way"})
            elif not self._is_let_in():
                self._answer(401, {"error": "unauthorized"})
            elif self.path == "/metrics":
                line = f'akash_llm_idle_seconds{{model="m",key="owner"}} {ingress.idle_s}\n'
                self._send(200, line.encode())
            else:
                self._answer(200, {"version": "0.0.0", "models": []})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not ingress.is_down and not self._is_let_in():
                self._answer(401, {"error": "unauthorized"})
            elif status := ingress.refusal():
                self._answer(status, {"error": "no endpoint is there"})
            else:
                self._answer(200, {"model": _model_in(body), **LINE})

        def _is_let_in(self) -> bool:
            return ingress.admits(self.headers.get("authorization", "").removeprefix("Bearer "))

        def _answer(self, status: int, body: Any) -> None:
            self._send(status, json.dumps(body).encode() + b"\n")

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-ndjson")
            self.send_header("content-length", str(len(data)))
            with suppress(OSError):  # who asked may have gone
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
