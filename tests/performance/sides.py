"""The sides of a case: what a server or a program is started for in one turn."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from server.engine.process import ENVIRONMENT
from tests.performance import programs
from tests.performance.load import ask
from tests.performance.measures import Figures
from tests.performance.programs import Program, Setting
from tests.performance.running import Broken, Running, last_line, running
from tests.support.ports import free_port
from toolkit.bench.calibration import calibrate

Measure = Callable[[Running, int], Awaitable[Figures]]

DECODE_SEQUENCES, DECODE_PROMPT, DECODE_TOKENS, DECODE_CONTEXT = (1, 8, 16), 128, 128, 1024


class Side(Protocol):
    """One side of a comparison, found on this machine."""

    @property
    def command(self) -> Sequence[str]:
        """What is started, to be shown."""

    @property
    def kv(self) -> str:
        """The type of its keys and values."""

    async def turn(self, seed: int, log: Path) -> Figures:
        """Start it from nothing, measure, end it. Raises `Broken`."""


@dataclass(frozen=True)
class Served:
    """A server that is measured once it is ready."""

    program: Program
    measure: Measure

    @property
    def command(self) -> Sequence[str]:
        return self.program.command(0)

    @property
    def kv(self) -> str:
        return self.program.kv

    async def turn(self, seed: int, log: Path) -> Figures:
        async with running(self.program, free_port(), log) as server:
            return await self.measure(server, seed)


@dataclass(frozen=True)
class Started(Served):
    """A server whose start is measured: `measure` is part of it."""

    async def turn(self, seed: int, log: Path) -> Figures:
        port, begun = free_port(), time.perf_counter()
        async with running(self.program, port, log) as server:
            await self.measure(server, seed)
            return {"start": time.perf_counter() - begun}


async def first_token(server: Running, seed: int) -> Figures:
    """The shortest answer."""
    await ask(server, "Hello", 1)
    return {}


@dataclass(frozen=True)
class Printed:
    """A program that measures itself and prints its figures."""

    command: Sequence[str]
    read: Callable[[str], Figures]
    env: Mapping[str, str] = field(default_factory=dict)
    kv: str = "f16"

    async def turn(self, seed: int, log: Path) -> Figures:
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env={**os.environ, **self.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise Broken(f"{self.command[0]} ended with {process.returncode}: {last_line(log)}")
        return self.read(out.decode())


@dataclass(frozen=True)
class Client:
    """The client of `akash-llm bench` on streams whose times are known."""

    streams: int
    kv: str = "none"

    @property
    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "toolkit", "bench", "calibrate", f"--streams={self.streams}"]

    async def turn(self, seed: int, log: Path) -> Figures:
        found = await calibrate(self.streams)
        return {
            "cpu": found.cpu_us_per_chunk,
            "late p50": found.late_p50_ms,
            "late p99": found.late_p99_ms,
        }


def our_decode(setting: Setting) -> Printed:
    """The engine of a runner, with a runner's environment."""
    argv = [sys.executable, "-m", "tests.performance.decode", str(setting.weights)]
    argv += ["--threads", str(setting.threads), "--context", str(DECODE_CONTEXT)]
    argv += ["--prompt", str(DECODE_PROMPT), "--tokens", str(DECODE_TOKENS)]
    argv += ["--sequences", ",".join(map(str, DECODE_SEQUENCES))]
    return Printed(argv, _read_ours, ENVIRONMENT)


def bare_decode(setting: Setting) -> Printed:
    """The loop in C that llama.cpp brings along. Raises `Missing`."""
    program = programs.llama_cpp_program("llama-batched-bench")
    argv = [str(program), "-m", str(setting.weights), "-t", str(setting.threads)]
    argv += ["-c", str(DECODE_CONTEXT * max(DECODE_SEQUENCES)), "-b", "2048", "-ub", "512"]
    argv += ["-npp", str(DECODE_PROMPT), "-ntg", str(DECODE_TOKENS)]
    argv += ["-npl", ",".join(map(str, DECODE_SEQUENCES)), "--output-format", "jsonl"]
    return Printed(argv, _read_batched_bench, programs.library_path(program))


def _read_ours(text: str) -> Figures:
    figures: Figures = json.loads(text)
    return figures


def _read_batched_bench(text: str) -> Figures:
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {str(row["pl"]): row["speed_tg"] for row in rows}
