"""What the measuring itself costs: the client of a benchmark on a server whose times are known.

The server is `toolkit.bench.metronome`, a process beside this one, so what is found is an
upper bound: both want the same cores.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from toolkit.bench.distribution import percentile
from toolkit.bench.records import Outcome, Phase, RequestRecord
from toolkit.bench.request import Asker, Place
from toolkit.bench.wire import Terms, wire_of
from toolkit.bench.workload import Message
from toolkit.client import Endpoint
from toolkit.errors import ConfigError, UsageError

STREAMS, INTERVAL_S, TOKENS = 200, 0.1, 50
# The first of so many parts of each stream is left out of the lateness.
SETTLING = 5


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The client's own share. `late_…_ms` is from the server's stamp on a chunk to the
    client's once all streams are open, `cpu_us_per_chunk` what the client's process computed
    for one, `cpu_share` of one core in all."""

    schema: int = 1
    streams: int
    chunks: int
    chunks_per_s: float
    late_p50_ms: float
    late_p99_ms: float
    cpu_us_per_chunk: float
    cpu_share: float

    def __str__(self) -> str:
        return (
            f"{self.streams} streams, {self.chunks_per_s:,.0f} chunks/s: a chunk is noted"
            f" {self.late_p50_ms:.2f} ms (median; p99 {self.late_p99_ms:.2f} ms) after it was"
            f" sent, and costs {self.cpu_us_per_chunk:.0f} µs of processor time"
            f" ({self.cpu_share:.0%} of a core in all)"
        )


async def calibrate(
    streams: int = STREAMS, *, interval_s: float = INTERVAL_S, tokens: int = TOKENS
) -> Calibration:
    """Read so many streams, each with a chunk every `interval_s`.

    Takes about `tokens` × `interval_s`. Raises `UsageError` for what cannot be meant.
    """
    if streams < 1 or tokens < 2 or not interval_s > 0:
        raise UsageError("A calibration needs a stream of two chunks at least.")
    async with _metronome(interval_s) as url, Endpoint.open(url=url, model="m") as endpoint:
        asker = Asker(endpoint, wire_of("ollama"), Terms(seed=1), must_fill=True, keep_text=True)
        records: list[RequestRecord] = []
        cpu, began = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(_read(asker, number, began, tokens, records))
        elapsed = time.perf_counter() - began
        used = time.process_time() - cpu
    if any(record.outcome is not Outcome.OK for record in records):
        raise ConfigError(
            "The calibration broke off: " + next(r.error for r in records if r.error),
            hint="Try fewer streams; each needs an open file.",
        )
    chunks = sum(len(record.text_s) for record in records)
    late = sorted(
        1e3 * (began + noted - float(stamp))
        for record in records
        for noted, stamp in _settled(record)
    )
    return Calibration(
        streams=streams,
        chunks=chunks,
        chunks_per_s=chunks / elapsed,
        late_p50_ms=percentile(late, 50),
        late_p99_ms=percentile(late, 99),
        cpu_us_per_chunk=1e6 * used / chunks,
        cpu_share=used / elapsed,
    )


def _settled(record: RequestRecord) -> list[tuple[float, str]]:
    """When a chunk was noted, and its stamp, without the first ones: to open all streams at
    once is work of its own."""
    chunks = list(zip(record.text_s, record.reply.split(), strict=True))
    return chunks[len(chunks) // SETTLING :]


async def _read(
    asker: Asker, number: int, began: float, tokens: int, records: list[RequestRecord]
) -> None:
    await asker.ask(
        [Message("user", "beat")],
        tokens,
        Place(index=number, began=began),
        phase=lambda _: Phase.MEASURED,
        sink=records.append,
        on_text=lambda: None,
    )


@asynccontextmanager
async def _metronome(interval_s: float) -> AsyncIterator[str]:
    """The address of one, which ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "toolkit.bench.metronome", str(interval_s),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    if process.stdin is None or process.stdout is None:
        raise ConfigError("The metronome cannot be started.")
    try:
        port = (await process.stdout.readline()).decode().strip()
        if not port:
            raise ConfigError("The metronome did not start.", hint="Its error is above.")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()
