"""A benchmark of one endpoint: warm up, then level after level, and what there is of it.

The clock is the client's. A run can be looked at and ended at any moment; what was
measured until then is a result like any other, marked as not complete.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec

from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.level import LiveLevel
from toolkit.bench.progress import TOLD_EVERY_S, Progress, progress_of
from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.request import Asker, Place
from toolkit.bench.result import Result, Subject
from toolkit.bench.subject import Facts, look, this_client
from toolkit.bench.summary import Summary, marked, summarize
from toolkit.bench.sweep import next_load
from toolkit.bench.warmup import warm_up
from toolkit.bench.wire import Terms
from toolkit.bench.workload import Message, Prompts
from toolkit.client import Endpoint

STOPPED = "stopped"


class Run:
    """One benchmark; used from one event loop.

    `on_progress` is called there at most ten times a second, and when a level begins or ends.
    `run` may be cancelled, and `stop` ends it in order; `result` and `progress` are there
    before, during and after. `facts` are what is known of the endpoint from elsewhere.
    """

    def __init__(
        self,
        config: BenchConfig,
        endpoint: Endpoint,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        facts: Facts | None = None,
    ) -> None:
        """Raises `UsageError` for a configuration that cannot be meant."""
        facts = facts or Facts()
        if config.usd_per_hour is None and facts.usd_per_hour is not None:
            config = msgspec.structs.replace(config, usd_per_hour=facts.usd_per_hour)
        self.config = config.checked()
        self.endpoint = endpoint
        self.complete = False
        self.ended_by = ""
        self.remarks: list[str] = []
        self.live: LiveLevel | None = None
        self._facts = facts
        self._on_progress = on_progress or (lambda _progress: None)
        self._prompts = Prompts(config.workload, secrets.randbits(32))
        self._warmup: list[RequestRecord] = []
        self._done: list[tuple[Level, Summary]] = []
        self._number = 0
        self._beginning: asyncio.Timeout | None = None
        self._subject = Subject(name=endpoint.name, url=endpoint.url, model=endpoint.model)
        self._created_at = datetime.now(UTC).isoformat(timespec="seconds")

    async def run(self) -> Result:
        """Warm up, then every level in turn; the partial result after `stop`.

        Failures of single requests are counted. Raises `EndpointError` or
        `CredentialsError` when the endpoint cannot be measured at all.
        """
        wire, self._subject = await look(self.endpoint, self.config.api, self._facts)
        workload = self.config.workload
        asker = Asker(
            self.endpoint,
            wire,
            Terms(seed=workload.seed, ignore_eos=workload.ignore_eos),
            must_fill=workload.ignore_eos,
            keep_text=self.config.keep_text,
        )
        async with self._telling():
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._beginning:
                    self._warmup, remarks = await warm_up(asker, self._prompts, self.config)
                    self.remarks += remarks
            self._beginning = None
            while not self.ended_by and (load := next_load(self.config, self.summaries())):
                await self._level(asker, load)
            self.complete = not self.ended_by
        return self.result()

    def stop(self) -> None:
        """End the run; what was measured stays. Does not block, and may be repeated."""
        self.ended_by = self.ended_by or STOPPED
        if self.live is not None:
            self.live.end(STOPPED)
        elif self._beginning is not None:
            self._beginning.reschedule(asyncio.get_running_loop().time())

    @property
    def has_measured(self) -> bool:
        """Whether any request of a level has ended."""
        return bool(self._done) or (self.live is not None and bool(self.live.records))

    def levels(self) -> tuple[Level, ...]:
        """The levels so far, the running one last."""
        done = tuple(level for level, _ in self._done)
        return (*done, *self.live.frozen()) if self.live is not None else done

    def summaries(self) -> tuple[Summary, ...]:
        """Their figures."""
        done = [summary for _, summary in self._done]
        if self.live is not None:
            levels = self.live.frozen()
            done += [summarize(level, self.config, with_intervals=False) for level in levels]
        return marked(done)

    def result(self) -> Result:
        """What was measured so far."""
        workload = self.config.workload
        return Result(
            created_at=self._created_at,
            client=this_client(),
            complete=self.complete,
            ended_by=self.ended_by,
            subject=self._subject,
            config=msgspec.structs.replace(self.config, workload=workload.named()),
            workload_digest=workload.digest(),
            remarks=tuple(self.remarks),
            warmup=tuple(self._warmup),
            levels=self.levels(),
            summaries=self.summaries(),
        )

    def progress(self) -> Progress:
        """Where it is now."""
        levels = None if self.config.sweep else len(self.config.loads())
        if self.live is not None:
            return progress_of(self.live, level=self._number, levels=levels)
        if self.complete or self.ended_by:
            return Progress(stage="done", level=self._number, levels=levels)
        return Progress(stage="warming up" if self._subject.api else "starting", levels=levels)

    async def _level(self, asker: Asker, load: Load) -> None:
        live = self.live = LiveLevel(load, self.config)
        self._number += 1
        self._tell()

        async def converse(number: int, due_s: float | None) -> None:
            history: tuple[Message, ...] = ()
            for turn in range(self.config.workload.turns):
                if turn and live.ended_by:
                    return
                history = await self._turn(asker, live, history, number, turn, due_s)
                if not history:
                    return
                due_s = None

        try:
            await live.drive(converse)
        finally:
            self.live = None
            self._done += [(level, summarize(level, self.config)) for level in live.frozen()]
        if live.ended_by == "errors":
            self.ended_by = "errors"
        self._tell()

    async def _turn(
        self,
        asker: Asker,
        live: LiveLevel,
        history: tuple[Message, ...],
        number: int,
        turn: int,
        due_s: float | None,
    ) -> tuple[Message, ...]:
        """One request; the conversation after it, empty if it went wrong."""
        work = self.config.workload
        asked = self._prompts.ask(str(live.load), number, turn)
        messages = (*history, *asked.messages)
        ends: list[Outcome] = []

        def sink(record: RequestRecord) -> None:
            live.note(record)
            ends.append(record.outcome)
            self._count_errors(live)

        def count() -> None:
            live.chunks += 1

        live.note_sent()
        index = number * work.turns + turn
        reply = await asker.ask(
            messages,
            asked.output_tokens,
            Place(index=index, turn=turn, began=live.began, due_s=due_s),
            phase=live.phase,
            sink=sink,
            on_text=count,
            keep_reply=work.turns > 1,
        )
        if ends[0] is Outcome.ERROR:
            return ()
        return (*messages, Message("assistant", reply))

    def _count_errors(self, live: LiveLevel) -> None:
        most = self.config.max_errors
        if most is None:
            return
        before = sum(summary.errors for _, summary in self._done)
        if before + sum(r.outcome is Outcome.ERROR for r in live.records) > most:
            live.end("errors")

    def _tell(self) -> None:
        self._on_progress(self.progress())

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                self._tell()
                due = time.perf_counter() + TOLD_EVERY_S
                await asyncio.sleep(TOLD_EVERY_S)
                if self.live is not None:
                    self.live.note_pause(time.perf_counter() - due)

        task = asyncio.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._tell()


async def run(
    config: BenchConfig,
    endpoint: Endpoint,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    facts: Facts | None = None,
) -> Result:
    """Measure `endpoint` and return the result; to keep partial ones, hold a `Run`."""
    return await Run(config, endpoint, on_progress, facts=facts).run()
