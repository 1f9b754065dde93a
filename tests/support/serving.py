"""A real server in a process of its own, on a real port, over the fake or the real engine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import httpx2
import msgspec
import numpy
import psutil

from server.__main__ import serve
from server.engine.config import FakeCosts
from server.local import LocalEngine, engine_config
from server.settings import SettingsError, load
from tests.support.gguf_files import add_field
from tests.support.started import Started

ROOT = Path(__file__).resolve().parents[2]
STEP_VARIABLE = "FAKE_STEP_S"
ROW_VARIABLE = "FAKE_ROW_S"
LOAD_VARIABLE = "FAKE_LOAD_S"
TEMPLATE_VARIABLE = "FAKE_CHAT_TEMPLATE"


class ServerEnded(AssertionError):
    """The server ended before it was ready."""


class Serving(Started):
    """A started server. Use as a context manager; `url` answers once it is entered, and
    `seen` has what its readiness said on the way."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        fake: bool = True,
        step_s: float = 0.0,
        load_s: float = 0.0,
    ) -> None:
        self.seen: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"server-{port}.log"
        self.out = folder / f"server-{port}.out"
        self._command = [
            sys.executable,
            "-m",
            "tests.support.serving" if fake else "server",
            "--port",
            str(port),
            *args,
        ]
        self.state = folder / f"state-{port}"
        state = {"AKASH_LLM_STATE": str(self.state)}
        self._env = {**os.environ, **state, **(env or {}), STEP_VARIABLE: str(step_s)}
        self._env[LOAD_VARIABLE] = str(load_s)

    def start(self) -> None:
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=out, stderr=log
            )

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def client(self, **options: Any) -> httpx2.Client:
        """A client of this server; close it."""
        return httpx2.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    def async_client(self, **options: Any) -> httpx2.AsyncClient:
        """The same for asyncio."""
        return httpx2.AsyncClient(base_url=self.url, timeout=30, trust_env=False, **options)

    def kill_runner(self) -> None:
        """Kill the process that computes; the server stays."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "server.engine.runner" in child.cmdline():
                os.kill(child.pid, signal.SIGKILL)

    def wait_until_ready(self, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        with self.client() as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise ServerEnded(self.log.read_text())
                try:
                    ready = client.get("/health/ready")
                    self.seen.append(ready.json())
                    if ready.status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                time.sleep(0.02)
        raise ServerEnded(f"not ready within {within_s} s: {self.log.read_text()}")


def write_gguf(path: Path, *, fields: Mapping[str, int | str] | None = None) -> Path:
    """A tiny file that the store takes for a model. The fake engine never reads it."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(8)
    for key, value in (fields or {}).items():
        add_field(writer, key, value)
    writer.add_tensor("token_embd.weight", numpy.zeros((4, 8), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def main() -> int:
    """`python -m server` with the fake engine."""
    try:
        settings = load(sys.argv[1:], os.environ)
        costs = FakeCosts(
            step_s=float(os.environ.get(STEP_VARIABLE, 0)),
            row_s=float(os.environ.get(ROW_VARIABLE, 0)),
            load_s=float(os.environ.get(LOAD_VARIABLE, 0)),
            chat_template=os.environ.get(TEMPLATE_VARIABLE, ""),
        )
        config = msgspec.structs.replace(engine_config(settings), backend="fake", fake=costs)
        serve(settings, lambda _: LocalEngine.of(settings, config))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
