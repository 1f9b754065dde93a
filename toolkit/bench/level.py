"""One level while it runs: who sends when, and what ends it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec

from toolkit.bench import saturation
from toolkit.bench.arrival import Load, moments, rate_at
from toolkit.bench.config import MOST_OPEN, RAMP_SLICES, BenchConfig
from toolkit.bench.records import Client, Level, Outcome, Phase, RequestRecord

LOOK_EVERY_S = 0.5

# Has one conversation: its number, and when it was due to begin.
Converse = Callable[[int, float | None], Awaitable[None]]


class LiveLevel:
    """A level that is being run; used from one event loop.

    `sent`, `ended` are moments since it began; `chunks` counts those with text.
    """

    def __init__(self, load: Load, config: BenchConfig) -> None:
        self.load = load
        self.config = config
        self.asked = _asked(load, config)
        self.records: list[RequestRecord] = []
        self.sent: list[float] = []
        self.ended: list[float] = []
        self.chunks = 0
        self.ended_by = ""
        self.began = time.perf_counter()
        self._wall, self._cpu = time.time(), time.process_time()
        self._client: Client | None = None
        self._limit: asyncio.Timeout | None = None
        self._looked = 0.0
        self._begun = 0
        self._longest_pause_s = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that are open now."""
        return len(self.sent) - len(self.ended)

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began

    def phase(self, sent_s: float) -> Phase:
        """Which part of the level a request sent at that moment belongs to."""
        config = self.config
        if sent_s < config.warmup_s:
            return Phase.WARMUP
        if config.cooldown_s and config.duration_s is not None:
            return (
                Phase.COOLDOWN if sent_s > config.duration_s - config.cooldown_s else Phase.MEASURED
            )
        return Phase.MEASURED

    async def drive(self, converse: Converse) -> None:
        """Send until the level is over; what is open then has its grace."""
        config = self.config
        end = None if config.duration_s is None else config.duration_s + config.grace_s
        try:
            async with asyncio.timeout(end) as self._limit:
                await (self._open(converse) if self.load.is_open else self._closed(converse))
        except TimeoutError:
            self.ended_by = self.ended_by or "duration"
        finally:
            self._limit = None
            self._client = self._measured_client()

    def end(self, why: str) -> None:
        """Cut what is open and end the level. Does not block."""
        self.ended_by = self.ended_by or why
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def note_sent(self) -> None:
        """A request is on its way."""
        self.sent.append(self.elapsed_s)

    def note(self, record: RequestRecord) -> None:
        """A request has ended, however."""
        self.records.append(record)
        self.ended.append(record.end_s)

    def note_pause(self, pause_s: float) -> None:
        """The event loop was late by so much."""
        self._longest_pause_s = max(self._longest_pause_s, pause_s)

    def frozen(self) -> tuple[Level, ...]:
        """What is there now; a ramp comes in slices of its time."""
        if self.load.rate_from is None or not self.load.ramp_s:
            return (self._level(self.load, tuple(self.records), self._window()),)
        return tuple(self._slices())

    async def _closed(self, converse: Converse) -> None:
        numbers = count()

        async def worker() -> None:
            while self._may_begin(self.elapsed_s):
                await converse(next(numbers), None)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.load.concurrency or 1):
                group.create_task(worker())

    async def _open(self, converse: Converse) -> None:
        source = random.Random(f"{self.config.workload.seed}/{self.load}")  # noqa: S311
        async with asyncio.TaskGroup() as group:
            for number, due in enumerate(moments(self.load, source)):
                if not self._may_begin(due):
                    break
                await asyncio.sleep(max(0.0, self.began + due - time.perf_counter()))
                self._look()
                group.create_task(_awaited(converse(number, due)))

    def _may_begin(self, moment: float) -> bool:
        """Whether another conversation begins at that moment; it is counted as begun."""
        duration = self.config.duration_s
        if self.ended_by or (duration is not None and moment >= duration):
            return False
        if self.asked is not None and self._begun * self.config.workload.turns >= self.asked:
            return False
        self._begun += 1
        return True

    def _look(self) -> None:
        """End an open loop that the server cannot keep up with, if that is wanted."""
        config = self.config
        if self.in_flight >= MOST_OPEN:
            self.end(f"{MOST_OPEN} open requests")
        if not (config.until_saturated or config.sweep) or self.load.rate_from is not None:
            return
        now = self.elapsed_s
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            if saturation.backlog_grows(self.sent, sorted(self.ended), now):
                self.end("saturation")

    def _window(self) -> tuple[float, float] | None:
        config = self.config
        if not config.warmup_s and not config.cooldown_s:
            return None
        if config.cooldown_s and config.duration_s is not None:
            end = config.duration_s - config.cooldown_s
        else:
            end = max(self.ended, default=0.0)
        return config.warmup_s, max(end, config.warmup_s)

    def _slices(self) -> list[Level]:
        """A ramp cut into parts of the same time. Requests of before that were still open in
        a part are in it too, outside its figures, for what they bring in its window."""
        whole = self.load.ramp_s or 0.0
        found = []
        for number in range(RAMP_SLICES):
            start, end = (whole * (number + i) / RAMP_SLICES for i in (0, 1))
            inside = [r for r in self.records if start <= r.sent_s < end]
            if not inside:
                continue
            rates = rate_at(self.load, start), rate_at(self.load, end)
            load = Load(
                arrival=self.load.arrival,
                rate=float(f"{sum(rates) / 2:.3g}"),
                burstiness=self.load.burstiness,
            )
            found.append(self._level(load, _overlapping(self.records, start, end), (start, end)))
        return found

    def _level(
        self, load: Load, records: tuple[RequestRecord, ...], window: tuple[float, float] | None
    ) -> Level:
        return Level(
            load=load,
            asked=self.asked,
            records=records,
            window=window,
            ended_by=self.ended_by,
            client=self._client or self._measured_client(),
        )

    def _measured_client(self) -> Client:
        elapsed = self.elapsed_s
        cpu = time.process_time() - self._cpu
        return Client(
            cpu_share=cpu / elapsed if elapsed > 0 else 0.0,
            cpu_us_per_chunk=1e6 * cpu / self.chunks if self.chunks else None,
            longest_pause_s=self._longest_pause_s,
            clock_jump_s=time.time() - self._wall - elapsed,
        )


def _asked(load: Load, config: BenchConfig) -> int | None:
    """How many requests are sent; with a duration none need be."""
    if config.requests is None:
        return None
    if load.is_open or config.duration_s is not None:
        return config.requests
    return max(config.requests, load.concurrency or 1)


def _overlapping(
    records: list[RequestRecord], start: float, end: float
) -> tuple[RequestRecord, ...]:
    found = []
    for record in records:
        if start <= record.sent_s < end:
            found.append(record)
        elif record.sent_s < start < record.end_s and record.outcome is not Outcome.ERROR:
            found.append(msgspec.structs.replace(record, phase=Phase.WARMUP))
    return tuple(found)


async def _awaited(work: Awaitable[None]) -> None:
    await work
