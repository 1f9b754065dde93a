"""What is measured of a server in one turn, and which direction is better."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.performance.load import ask, prompt_of, together
from tests.performance.servers import Program, running

STREAMS = (1, 4, 8, 16)
PROMPT_WORDS, OUTPUT_TOKENS = 100, 64
PREFIX_WORDS, TAIL_WORDS, PREFIX_STREAMS, PREFIX_TOKENS = 300, 40, 8, 16


@dataclass(frozen=True)
class Metric:
    """A figure of a server. `is_more_better` says how to read a ratio to a peer."""

    name: str
    unit: str
    is_more_better: bool
    bar: float | None = None


def throughput(streams: int) -> Metric:
    """Generated tokens per second of all streams, prompts of their own."""
    bar = 0.97 if streams == 16 else 1.0
    return Metric(f"{streams} streams" if streams > 1 else "1 stream", "tok/s", True, bar)


PREFIX = Metric("first token p95, 8 streams, shared new prefix", "s", False, 0.35)
START = Metric("process start to first token", "s", False)
FRESH = Metric("resident memory, fresh", "MiB", False, 1.25)
LOADED = Metric("resident memory, after the load", "MiB", False)
METRICS = (*map(throughput, STREAMS), PREFIX, START, FRESH, LOADED)

_MIB = 1 << 20


async def turn(
    program: Program, port: int, log: Path, round_number: int
) -> AsyncIterator[tuple[Metric, float]]:
    """Start the server, measure everything once, end it. Prompts differ by round."""
    seed = 1_000_000 * (round_number + 1)
    begun = time.perf_counter()
    async with running(program, port, log) as server:
        await ask(server, "Hello", 1)
        yield START, time.perf_counter() - begun
        yield FRESH, server.rss_bytes() / _MIB
        for streams in STREAMS:
            prompts = [prompt_of(PROMPT_WORDS, seed + 100 * streams + i) for i in range(streams)]
            batch = await together(server, prompts, OUTPUT_TOKENS)
            yield throughput(streams), batch.tokens_per_s
            await asyncio.sleep(0.2)
        prefix = prompt_of(PREFIX_WORDS, seed)
        tails = [prompt_of(TAIL_WORDS, seed + 9_000 + i) for i in range(PREFIX_STREAMS)]
        batch = await together(server, [f"{prefix} {tail}" for tail in tails], PREFIX_TOKENS)
        yield PREFIX, batch.first_s(0.95)
        yield LOADED, server.rss_bytes() / _MIB
