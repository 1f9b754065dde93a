"""A running container without an engine: its root is only read, and it has two volumes."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import psutil

from tests.support.containerfile import Containerfile
from tests.support.started import Started

CONTAIN = Path(__file__).with_name("contain.sh")
KEY = "the-key-of-a-test-that-is-long-enough"
GRANT = f"tests:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"
READY_S = 120


class Container(Started):
    """Use as a context manager: inside, the server in it is ready.

    `environment` comes on top of what the image sets.
    """

    def __init__(
        self,
        root: Path,
        variant: str,
        folder: Path,
        port: int,
        *,
        args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        user_id: int = 0,
    ) -> None:
        """`user_id` is whom the container starts as."""
        self.root, self.image = root, Containerfile.of(variant).image
        self.models, self.state = folder / "models", folder / "state"
        self.log = folder / "container.log"
        self.environment = {
            **self.image.environment,
            "AKASH_LLM_HOST": "127.0.0.1",
            "AKASH_LLM_PORT": str(port),
            "AKASH_LLM_KEYS": GRANT,
            **(environment or {}),
        }
        self._user_id = user_id
        self._command = [*self.image.entrypoint, *args]
        self._url = f"http://127.0.0.1:{port}"

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()  # and so, by the kernel, all in the namespace
            self.process.wait()

    def start(self) -> None:
        """Start it and wait for nothing."""
        for volume in (self.models, self.state):
            volume.mkdir(exist_ok=True)
        shell = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", str(CONTAIN)]
        places = [str(path) for path in (self.root, self.models, self.state)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*shell, str(self._user_id), *places, *self._command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def client(self) -> httpx2.Client:
        """A client of its server, with the key; close it."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx2.Client(base_url=self._url, headers=headers, timeout=60, trust_env=False)

    def is_healthy(self) -> bool:
        """What the image's own check says."""
        command = ["chroot", str(self.root), *self.image.health_check]
        return subprocess.run(command, env=self.environment, capture_output=True).returncode == 0

    def processes(self) -> list[psutil.Process]:
        """All of them as seen from outside, the first program first."""
        (first,) = psutil.Process(self.process.pid).children()
        return [first, *first.children(recursive=True)]

    def ask_to_stop(self) -> int:
        """Send what an engine sends to the first program; the exit code."""
        number = signal.Signals[self.image.only("STOPSIGNAL")]
        os.kill(self.processes()[0].pid, number)
        return self.process.wait(60)

    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        with self.client() as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    if client.get("/health/ready").status_code == httpx2.codes.OK:
                        return
                except httpx2.TransportError:
                    pass
                time.sleep(0.05)
        raise AssertionError(f"the container is not ready: {self.said()}")
