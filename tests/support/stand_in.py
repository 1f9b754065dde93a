"""A small server in the place of ours: the routes that deploying needs, and bad manners.

Run as a program; which manners is the first argument:
    good       ready at once
    slow       ready once a file named `go` lies in AKASH_LLM_HOME
    never      listens and is never ready
    broken     listens and cannot load its model
    dies       says why on stderr and ends with code 1
    fades      listens, and ends as `dies` when it is asked for a token
    stubborn   good, has a child, and neither ends when asked
    gateway    ready while the engine behind it answers and takes its key
"""

import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from hashlib import sha256
from pathlib import Path

MANNERS = sys.argv[1]
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health/ready":
            is_ready = _is_ready()
            reason = "" if is_ready else f"the {MANNERS} one is not ready"
            self._answer(200 if is_ready else 503, {"status": "as it is", "reason": reason})
        elif self._is_allowed():
            self._answer(200, {"version": "0.0.0", "models": []})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if MANNERS == "fades":
            print("the model does not fit", file=sys.stderr, flush=True)
            os._exit(1)
        if MANNERS == "broken":
            self._answer(500, {"error": "this model is of an unknown kind"})
        elif self._is_allowed():
            self._answer(
                200,
                {
                    "model": os.environ["AKASH_LLM_PRELOAD"],
                    "created_at": "2026-01-01T00:00:00Z",
                    "response": "Hi",
                    "done": True,
                    "done_reason": "length",
                },
            )

    def _is_allowed(self) -> bool:
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        if sha256(key.encode()).hexdigest() in os.environ["AKASH_LLM_KEYS"]:
            return True
        self._answer(401, {"error": "unauthorized"})
        return False

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _is_ready() -> bool:
    if MANNERS == "slow":
        return (Path(os.environ["AKASH_LLM_HOME"]) / "go").exists()
    if MANNERS == "gateway":
        return _has_engine()
    return MANNERS not in ("never", "broken")


def _has_engine() -> bool:
    key = os.environ.get("AKASH_LLM_UPSTREAM_KEY", "")
    upstream = urllib.parse.urlsplit(os.environ["AKASH_LLM_UPSTREAM"])
    engine = http.client.HTTPConnection(upstream.netloc or "localhost")
    try:
        if upstream.scheme == "unix":
            engine.sock = socket.socket(socket.AF_UNIX)
            engine.sock.connect(upstream.path)
        engine.request("GET", "/", headers={"authorization": f"Bearer {key}"})
        return engine.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False
    finally:
        engine.close()


def main() -> None:
    print(json.dumps({"manners": MANNERS, "argv": sys.argv[1:], "env": dict(os.environ)}))
    sys.stdout.flush()
    if MANNERS == "dies":
        sys.exit("the model is cut short")
    if MANNERS == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", SLEEPER], env={})  # a child without our mark
    address = (os.environ["AKASH_LLM_HOST"], int(os.environ["AKASH_LLM_PORT"]))
    with http.server.ThreadingHTTPServer(address, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
