"""Asking llama.cpp, in a process of its own, what memory it would take: see `layout`."""

import subprocess
import sys
from pathlib import Path

import msgspec

from server.engine.config import EngineConfig


class Asked(msgspec.Struct):
    """A model, and the ways in which it is loaded."""

    path: str
    configs: list[EngineConfig]


class Laid(msgspec.Struct):
    """Bytes; llama.cpp says hundredths of a MiB."""

    cache: float
    compute: float


class Layouts:
    """A process that lays out models; `close` ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.layout"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def of(self, path: Path, configs: list[EngineConfig]) -> list[Laid]:
        """What llama.cpp allocates for each of the ways."""
        assert self._process.stdin and self._process.stdout
        asked = msgspec.json.encode(Asked(str(path), configs)).decode()
        self._process.stdin.write(f"{asked}\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=list[Laid])

    def close(self) -> None:
        self._process.communicate()
