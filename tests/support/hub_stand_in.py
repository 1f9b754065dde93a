"""What of Hugging Face the pulls of files need, on loopback: paths, and files behind a redirect.

It runs in a thread, since those who ask are other processes.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

REPO = "user/repo"
TOKEN = "hf_secret"


class HubStandIn:
    """Serves `files` of the repository `user/repo`, if it is gated to those with the token.
    `seen` has the path and the authorization of each request."""

    def __init__(self, files: dict[str, bytes], *, is_gated: bool = False) -> None:
        self.files = files
        self.is_gated = is_gated
        self.seen: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        hub: HubStandIn = self

        class Handler(_Handler):
            stand_in = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def described(self, paths: list[str]) -> list[dict[str, Any]]:
        """The files that are there of these, as the API describes them."""
        return [
            {
                "type": "file",
                "path": path,
                "oid": "0" * 40,
                "size": len(self.files[path]),
                "lfs": {
                    "oid": hashlib.sha256(self.files[path]).hexdigest(),
                    "size": len(self.files[path]),
                    "pointerSize": 100,
                },
            }
            for path in paths
            if path in self.files
        ]


class _Handler(BaseHTTPRequestHandler):
    stand_in: HubStandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        if not self._may_pass():
            return
        if self.path != f"/api/models/{REPO}/paths-info/main":
            self._send(404, json.dumps({"error": "Repository not found"}).encode())
            return
        is_json = body.startswith("{")
        paths = json.loads(body)["paths"] if is_json else parse_qs(body)["paths"]
        self._send(200, json.dumps(self.stand_in.described(paths)).encode())

    def do_GET(self) -> None:
        path = self.path.partition("/resolve/main/")[2]
        if path:
            if self._may_pass():
                host = f"http://localhost:{self.server.server_port}"  # type: ignore[attr-defined]
                self._send(302, b"", location=f"{host}/cdn/{path}")
            return
        self._note()
        data = self.stand_in.files.get(self.path.removeprefix("/cdn/"))
        if data is None:
            self._send(404, b"{}")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if wanted is None:
            self._send(200, data)
            return
        first, last = int(wanted[1]), int(wanted[2])
        where = f"bytes {first}-{last}/{len(data)}"
        self._send(206, data[first : last + 1], content_range=where)

    def _may_pass(self) -> bool:
        self._note()
        if self.stand_in.is_gated and self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._send(403, b"{}", x_error_code="GatedRepo")
            return False
        return True

    def _note(self) -> None:
        self.stand_in.seen.append((self.path, self.headers.get("authorization", "")))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
