"""Closed-loop load: as many requests open as asked for, the next when one ends.

The clock is the client's. A run can be looked at and ended at any moment; what was
measured until then is a result like any other, marked as not complete.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime

from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.result import BenchConfig, Result, Subject, Summary, summarize
from toolkit.client import ChatStats, Endpoint
from toolkit.errors import CredentialsError, EndpointError

WARMUP_LEVEL = -1


class LiveLevel:
    """A level while it runs."""

    def __init__(self, concurrency: int, asked: int) -> None:
        self.concurrency = concurrency
        self.asked = asked
        self.records: list[RequestRecord] = []
        self.in_flight = 0
        self.began = time.perf_counter()

    def frozen(self) -> Level:
        """What is there now."""
        return Level(concurrency=self.concurrency, asked=self.asked, records=tuple(self.records))


class Run:
    """One benchmark of one endpoint; `on_update` is called after every request.

    `run` may be cancelled; `result` is there before, during and after.
    """

    def __init__(
        self,
        config: BenchConfig,
        endpoint: Endpoint,
        on_update: Callable[["Run"], None] | None = None,
    ) -> None:
        self.config = config.checked()
        self.endpoint = endpoint
        self.levels: list[LiveLevel] = []
        self.complete = False
        self._on_update = on_update or (lambda _run: None)
        self._subject = Subject(name=endpoint.name, url=endpoint.url, model=endpoint.model)
        self._created_at = datetime.now(UTC).isoformat(timespec="seconds")

    async def run(self) -> Result:
        """Warm up, then every level in turn.

        Failures of single requests are counted. Raises `EndpointError` or
        `CredentialsError` when the endpoint cannot be measured at all.
        """
        self._subject = await _subject(self.endpoint)
        for index in range(self.config.warmup):
            record = await self._request(LiveLevel(1, 1), WARMUP_LEVEL, index)
            if record.outcome is Outcome.ERROR:
                raise EndpointError(
                    f"The warm-up failed: {record.error}", hint="Try akash-llm chat --once first."
                )
        for concurrency in self.config.concurrency:
            await self._level(concurrency)
        self.complete = True
        self._on_update(self)
        return self.result()

    def result(self) -> Result:
        """What was measured so far."""
        levels = tuple(level.frozen() for level in self.levels)
        return Result(
            created_at=self._created_at,
            complete=self.complete,
            subject=self._subject,
            config=self.config,
            workload_digest=self.config.workload.digest(),
            levels=levels,
            summaries=tuple(self.summary(level) for level in levels),
        )

    def summary(self, level: Level) -> Summary:
        """The figures of one level at the price of this run."""
        return summarize(level, self.config.usd_per_hour)

    async def _level(self, concurrency: int) -> None:
        asked = max(self.config.requests, concurrency)
        level = LiveLevel(concurrency, asked)
        self.levels.append(level)
        self._on_update(self)
        indices = iter(range(asked))

        async def worker() -> None:
            for index in indices:
                level.in_flight += 1
                try:
                    record = await self._request(level, concurrency, index)
                finally:
                    level.in_flight -= 1
                level.records.append(record)
                self._on_update(self)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    async def _request(self, level: LiveLevel, salt: int, index: int) -> RequestRecord:
        workload = self.config.workload
        prompt = workload.prompt(salt, index)
        arrivals: list[float] = []
        stats: ChatStats | None = None
        error = ""
        sent = time.perf_counter()
        try:
            async with aclosing(self.endpoint.chat(prompt, options=workload.options())) as chunks:
                async for chunk in chunks:
                    if chunk.text or chunk.thinking:
                        arrivals.append(time.perf_counter())
                    stats = chunk.stats or stats
        except (EndpointError, CredentialsError) as failure:
            error = failure.message
        ended = time.perf_counter()
        if stats is not None:
            ended = sent + stats.total_s
        asked = workload.output_tokens
        return RequestRecord(
            index=index,
            outcome=_outcome(error, stats, asked),
            sent_s=sent - level.began,
            end_s=ended - level.began,
            first_byte_s=sent + stats.first_byte_s - level.began if stats else None,
            text_s=tuple(moment - level.began for moment in arrivals),
            prompt_tokens=stats.prompt_tokens if stats else None,
            output_tokens=stats.output_tokens if stats else None,
            finish_reason=stats.finish_reason if stats else "",
            error=error,
        )


async def run(
    config: BenchConfig,
    endpoint: Endpoint,
    on_update: Callable[[Run], None] | None = None,
) -> Result:
    """Measure `endpoint` and return the result; to keep partial ones, hold a `Run`."""
    return await Run(config, endpoint, on_update).run()


def _outcome(error: str, stats: ChatStats | None, asked: int) -> Outcome:
    if error or stats is None:
        return Outcome.ERROR
    told = stats.output_tokens
    return Outcome.SHORT if told is None or told < asked else Outcome.OK


async def _subject(endpoint: Endpoint) -> Subject:
    """What the endpoint says of itself. Raises when it does not answer."""
    version = await endpoint.version()
    wanted = {endpoint.model.lower(), f"{endpoint.model.lower()}:latest"}
    found = [m for m in await endpoint.tags() if str(m.get("name", "")).lower() in wanted]
    model = found[0] if found else {}
    details = model.get("details")
    facts = details if isinstance(details, dict) else {}
    return Subject(
        name=endpoint.name,
        url=endpoint.url,
        model=endpoint.model,
        target=endpoint.target,
        server_version=version,
        model_digest=str(model.get("digest", "")),
        quantization=str(facts.get("quantization_level", "")),
        parameter_size=str(facts.get("parameter_size", "")),
        context=await endpoint.context(),
    )
