"""A started server: its life from the command to the end, and what it takes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.performance.programs import Program

START_S = 300.0
END_S = 20.0
POLL_S = 0.01


class Broken(Exception):
    """A server that does not start, or an answer that does not come."""


class NotStarted(Broken):
    """It will not start a second time either."""


class Memory(NamedTuple):
    """Bytes in memory of all processes of a server: with pages that several of them share
    counted in each (`rss`) or divided among them (`pss`; 0 where the system does not tell)."""

    rss: int
    pss: int


class Running:
    """A started server and what it takes."""

    def __init__(self, program: Program, port: int, pid: int) -> None:
        self.program = program
        self.port = port
        self._process = psutil.Process(pid)

    def memory(self) -> Memory:
        """What all its processes hold now."""
        family = [self._process, *self._process.children(recursive=True)]
        full = [process.memory_full_info() for process in family]
        return Memory(sum(one.rss for one in full), sum(getattr(one, "pss", 0) for one in full))

    def cpu_s(self) -> float:
        """CPU time of its first process alone, which for ours is the HTTP side."""
        times = self._process.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def running(program: Program, port: int, log: Path) -> AsyncIterator[Running]:
    """The program on that port, ready; ended with its children afterwards. Raises
    `NotStarted`."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *program.command(port),
            env={**os.environ, **program.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await _until_ready(program, port, process, log)
        yield Running(program, port, process.pid)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, then end its whole session."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _until_ready(
    program: Program, port: int, process: asyncio.subprocess.Process, log: Path
) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            code, reason = process.returncode, last_line(log)
            raise NotStarted(f"{program.name} ended with {code}: {reason}")
        if await _status(port, program.ready) == 200:
            return
        await asyncio.sleep(POLL_S)
    raise NotStarted(f"{program.name} was not ready within {START_S:.0f} s")


def last_line(log: Path) -> str:
    """What a program said last, for the reason why it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


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
