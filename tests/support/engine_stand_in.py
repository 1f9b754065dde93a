"""A small server in the place of `vllm serve` or `ollama serve`, with manners.

Run as a program under the name of what it stands for. The variable STAND_IN_MANNERS says how:
    good      answers at once
    slow      answers once a file named `go` lies in AKASH_LLM_HOME
    dies      says why on stderr and ends with code 3
    forks     good, and has a child in its session without our mark or any environment
"""

import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
from pathlib import Path

MANNERS = os.environ.get("STAND_IN_MANNERS", "good")
SLEEPER = "import time; time.sleep(3600)"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        key = os.environ.get("VLLM_API_KEY", "")
        if MANNERS == "slow" and not (Path(os.environ["AKASH_LLM_HOME"]) / "go").exists():
            status = 503
        elif key and self.headers.get("authorization") != f"Bearer {key}":
            status = 401
        else:
            status = 200
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log is what was said first."""


class SocketServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Who asks has no address, and the handler wants one."""
        return super().get_request()[0], ("", 0)


def listening(program: str) -> socketserver.BaseServer:
    if program == "ollama":
        host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
        return http.server.ThreadingHTTPServer((host, int(port)), Handler)
    given = dict(zip(sys.argv, sys.argv[1:], strict=False))
    if path := given.get("--uds"):
        return SocketServer(path, Handler)
    return http.server.ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler)


def main() -> None:
    print(json.dumps({"argv": sys.argv, "env": dict(os.environ)}))
    sys.stdout.flush()
    if MANNERS == "dies":
        sys.exit("no kernel image is available")
    if MANNERS == "forks":
        subprocess.Popen([sys.executable, "-c", SLEEPER], env={})
    with listening(Path(sys.argv[0]).name) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
