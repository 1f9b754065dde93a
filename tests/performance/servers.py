"""The servers that are compared: how each is found, started and asked.

Every one serves the same file with the same number of threads, slots and tokens per
request. A peer that is not on this machine is left out, and the report says so.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import platformdirs
import psutil

from server.models.name import ModelName
from server.models.store import Store

MODEL = "measured"
PEERS = Path(platformdirs.user_cache_dir("akash-llm-peers"))
START_S = 120.0
POLL_S = 0.01


@dataclass(frozen=True)
class Setting:
    """What all servers of a comparison have in common."""

    weights: Path
    threads: int
    slots: int
    context: int


class Wire(Protocol):
    """How a server is asked for a completion of so many tokens, streamed."""

    path: str

    def body(self, prompt: str, num_tokens: int) -> dict[str, Any]:
        """A request that ends after exactly `num_tokens`, whatever the model wants."""

    def has_text(self, line: bytes) -> bool:
        """Whether a line of the stream brings new text."""

    def tokens(self, line: bytes) -> int | None:
        """The number of generated tokens, if this line tells it."""


class OllamaWire:
    """NDJSON of `/api/generate`."""

    path = "/api/generate"

    def body(self, prompt: str, num_tokens: int) -> dict[str, Any]:
        options = {"num_predict": num_tokens, "ignore_eos": True, "temperature": 0.8, "seed": 1}
        return {"model": MODEL, "prompt": prompt, "raw": True, "options": options}

    def has_text(self, line: bytes) -> bool:
        return line.startswith(b"{") and b'"response":""' not in line

    def tokens(self, line: bytes) -> int | None:
        if b'"done":true' not in line:
            return None
        count: int = json.loads(line)["eval_count"]
        return count


class LlamaServerWire:
    """Server-sent events of llama-server's `/completion`."""

    path = "/completion"

    def body(self, prompt: str, num_tokens: int) -> dict[str, Any]:
        return {
            "prompt": prompt,
            "n_predict": num_tokens,
            "stream": True,
            "ignore_eos": True,
            "cache_prompt": True,
            "temperature": 0.8,
            "top_k": 40,
            "top_p": 0.9,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "seed": 1,
        }

    def has_text(self, line: bytes) -> bool:
        return line.startswith(b"data: ") and b'"content":""' not in line

    def tokens(self, line: bytes) -> int | None:
        if not line.startswith(b"data: ") or b'"stop":true' not in line:
            return None
        count: int = json.loads(line[6:])["tokens_predicted"]
        return count


@dataclass(frozen=True)
class Program:
    """A server that can be started on a port."""

    name: str
    wire: Wire
    argv: tuple[str, ...]
    ready: str
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        return [part.replace("{port}", str(port)) for part in self.argv]


def ours(setting: Setting, home: Path) -> Program:
    """Our server from a fresh home that holds nothing but the model."""
    Store(home / "models").add_file(ModelName.parse(MODEL), setting.weights)
    flags = {
        "--port": "{port}",
        "--models": str(home / "models"),
        "--preload": MODEL,
        "--parallel": str(setting.slots),
        "--context": str(setting.context),
        "--threads": str(setting.threads),
    }
    argv = (sys.executable, "-m", "server", *(part for pair in flags.items() for part in pair))
    return Program("akash-llm", OllamaWire(), argv, "/health/ready", {"AKASH_LLM_HOME": str(home)})


def llama_server(setting: Setting) -> Program | None:
    """llama.cpp's own server, if it was built: $LLAMA_SERVER, the cache, or the path."""
    built = PEERS / "llama.cpp" / "build" / "bin" / "llama-server"
    found = os.environ.get("LLAMA_SERVER") or (str(built) if built.exists() else None)
    program = found or shutil.which("llama-server")
    if program is None:
        return None
    argv = (
        program,
        "-m",
        str(setting.weights),
        "-t",
        str(setting.threads),
        "-np",
        str(setting.slots),
        "-c",
        str(setting.slots * setting.context),
        "--port",
        "{port}",
    )
    # Its libraries lie beside it, wherever the build was moved to.
    env = {"LD_LIBRARY_PATH": str(Path(program).parent)}
    return Program("llama-server", LlamaServerWire(), argv, "/health", env)


class Running:
    """A started server and what it takes."""

    def __init__(self, program: Program, port: int, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self.port = port
        self._process = process

    def rss_bytes(self) -> int:
        """Resident memory of all its processes; pages that they share count for each."""
        root = psutil.Process(self._process.pid)
        family = [root, *root.children(recursive=True)]
        return sum(process.memory_info().rss for process in family)


@asynccontextmanager
async def running(program: Program, port: int, log: Path) -> AsyncIterator[Running]:
    """The program on that port, ready; ended with its children afterwards."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *program.command(port),
            env={**os.environ, **program.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await _until_ready(program, port, process)
        yield Running(program, port, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_ready(program: Program, port: int, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"{program.name} ended with {process.returncode}: see its log")
        if await _status(port, program.ready) == 200:
            return
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"{program.name} was not ready within {START_S:.0f} s")


async def _status(port: int, path: str) -> int | None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1]) if line else None
    except OSError:
        return None
    finally:
        writer.close()
