"""A server that is broken on purpose: it stands in front of a real one and spoils answers."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import requests


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    content_type: str
    body: bytes


Spoil = Callable[[str, Answer], Answer]


def another_field(path: str, answer: Answer) -> Answer:
    """A field in every JSON object that its document does not name."""
    if answer.content_type.startswith("application/json") and answer.body[:1] == b"{":
        return answer._replace(body=json.dumps(json.loads(answer.body) | {"more": 1}).encode())
    return answer


def another_type(path: str, answer: Answer) -> Answer:
    """`done` as a text, in streams too."""
    return answer._replace(body=answer.body.replace(b'"done":true', b'"done":"true"'))


def another_status(path: str, answer: Answer) -> Answer:
    """A status that no route has."""
    return answer._replace(status=299) if answer.status == 200 else answer


def another_content_type(path: str, answer: Answer) -> Answer:
    """JSON that says it is a page."""
    return answer._replace(content_type=answer.content_type.replace("json", "html"))


def failing(path: str, answer: Answer) -> Answer:
    """One route that always fails."""
    return Answer(500, "application/json", b'{"error":"oh"}') if path == "/api/show" else answer


SPOILS = (another_field, another_type, another_status, another_content_type, failing)


@contextlib.contextmanager
def broken(url: str, spoil: Spoil) -> Iterator[str]:
    """The address of a server that forwards to `url` and spoils what comes back."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            headers = {"content-type": self.headers.get("content-type") or ""}
            with requests.Session() as session:
                session.trust_env = False
                found = session.request(
                    self.command, url + self.path, data=body, headers=headers, timeout=60
                )
            kind = found.headers.get("content-type", "")
            answer = spoil(self.path, Answer(found.status_code, kind, found.content))
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_POST = do_HEAD = do_DELETE = do_PATCH = _forward

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
