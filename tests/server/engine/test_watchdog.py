"""A runner that hangs is noticed, killed and started again; a slow one is left alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import psutil
import pytest

from server.engine.config import EngineConfig, FakeCosts
from server.engine.messages import Pong
from server.engine.supervisor import Supervisor
from server.engine.types import EmbedRequest, Request
from server.engine.watchdog import Watchdog
from server.errors import EngineCrashed
from tests.support.supervising import MODEL, begin, pid_of, reply, until

Make = Callable[..., Supervisor]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes supervisors that are quick to lose patience."""
    made: list[Supervisor] = []

    def supervisor(*, step_s: float = 0.002, **config: float) -> Supervisor:
        bounds = {"ping_s": 0.05, **config}
        made.append(
            Supervisor(
                EngineConfig(backend="fake", fake=FakeCosts(step_s=step_s), **bounds)  # type: ignore[arg-type]
            )
        )
        return made[-1]

    yield supervisor
    for each in made:
        await each.close()


def hangs(supervisor: Supervisor) -> tuple[int, int, int]:
    [counts] = supervisor.counts()
    return counts.num_hung, counts.num_crashes, counts.num_crashed_requests


async def test_a_stopped_runner_with_a_request(make: Make) -> None:
    supervisor = make(silence_s=1)
    stream = await begin(supervisor)
    psutil.Process(pid_of(supervisor)).suspend()
    with pytest.raises(EngineCrashed, match=r"hung and was ended: it did not answer for 1 s"):
        async for _ in stream:
            pass
    assert await reply(supervisor, "⟦again⟧") == "again"
    assert hangs(supervisor) == (1, 1, 1)


async def test_a_stopped_idle_runner_is_noticed_by_the_next_request(make: Make) -> None:
    supervisor = make(silence_s=0.5)
    await reply(supervisor, "x")
    psutil.Process(pid_of(supervisor)).suspend()
    with pytest.raises(EngineCrashed, match="hung"):
        await reply(supervisor, "x")
    assert await reply(supervisor, "⟦again⟧") == "again"
    assert hangs(supervisor) == (1, 1, 1)


async def test_a_step_without_end(make: Make) -> None:
    supervisor = make(step_s=600, step_timeout_s=0.2, silence_s=600)
    async with supervisor.use(MODEL) as lease:
        with pytest.raises(EngineCrashed, match=r"a step took longer than 0\.2 s"):
            async for _ in lease.model.generate(Request(tokens=[65])):
                pass
    assert hangs(supervisor) == (1, 1, 1)


async def test_a_step_without_end_that_nobody_waits_for(make: Make) -> None:
    """Its client has left, but the abort does not reach a process that stands still."""
    supervisor = make(silence_s=0.5)
    stream = await begin(supervisor)
    await until(lambda: supervisor.loaded()[0].stats.num_running == 1)
    psutil.Process(pid_of(supervisor)).suspend()
    await stream.aclose()
    await until(lambda: hangs(supervisor) == (1, 1, 0))
    assert await reply(supervisor, "⟦again⟧") == "again"


async def test_a_batch_of_texts_without_end(make: Make) -> None:
    supervisor = make(step_s=600, step_timeout_s=0.2, silence_s=600)
    async with supervisor.use(MODEL) as lease:
        with pytest.raises(EngineCrashed, match=r"a step took longer than 0\.2 s"):
            await lease.model.embed(EmbedRequest(inputs=[[65]]))
    assert hangs(supervisor) == (1, 1, 1)


async def test_a_stopped_runner_that_only_embeds(make: Make) -> None:
    supervisor = make(step_s=600, step_timeout_s=600, silence_s=0.5)
    async with supervisor.use(MODEL) as lease:
        embedding = asyncio.create_task(lease.model.embed(EmbedRequest(inputs=[[65]])))
        await asyncio.sleep(0)
        psutil.Process(pid_of(supervisor)).suspend()
        with pytest.raises(EngineCrashed, match=r"it did not answer for 0\.5 s"):
            await embedding
    assert hangs(supervisor) == (1, 1, 1)


async def test_a_stopped_runner_whose_texts_nobody_waits_for(make: Make) -> None:
    supervisor = make(step_s=600, step_timeout_s=600, silence_s=0.5)
    async with supervisor.use(MODEL) as lease:
        embedding = asyncio.create_task(lease.model.embed(EmbedRequest(inputs=[[65]])))
        await asyncio.sleep(0)
        psutil.Process(pid_of(supervisor)).suspend()
        embedding.cancel()
        await asyncio.gather(embedding, return_exceptions=True)
        await until(lambda: hangs(supervisor) == (1, 1, 0))


async def test_a_long_step_still_answers(make: Make) -> None:
    supervisor = make(step_s=1.5, silence_s=1)
    assert await reply(supervisor, "⟦a⟧") == "a"
    assert hangs(supervisor) == (0, 0, 0)


async def test_what_a_runner_takes_is_measured_again(make: Make) -> None:
    supervisor = make(silence_s=600)
    stream = await begin(supervisor)
    said = supervisor.loaded()[0].info.memory_bytes
    await until(lambda: supervisor.loaded()[0].memory_bytes > said)
    await stream.aclose()


async def test_what_it_takes_is_measured_after_texts_were_embedded(make: Make) -> None:
    supervisor = make(silence_s=600)
    async with supervisor.use(MODEL) as lease:
        await lease.model.embed(EmbedRequest(inputs=[[65]]))
    said = supervisor.loaded()[0].info.memory_bytes
    await until(lambda: supervisor.loaded()[0].memory_bytes > said)


async def test_a_stall_of_the_watcher_ends_nobody() -> None:
    """However long the pauses between two looks are, an answer after each is enough."""
    watchdog = Watchdog(ping_s=0.001, silence_s=0.001, step_timeout_s=1)
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        time.sleep(0.01)
        if asked < 10:
            asyncio.get_running_loop().call_soon(watchdog.heard, Pong(0, 0))
        return True

    assert "did not answer" in await watchdog.until_hung(ask)
    assert asked == 10


async def test_a_runner_without_work_is_left_alone() -> None:
    watchdog = Watchdog(ping_s=0.001, silence_s=0.001, step_timeout_s=1)
    watchdog.heard(Pong(2 * 10**9, 0))  # the last thing that it said: a step of 2 s
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return False

    watching = asyncio.create_task(watchdog.until_hung(look))
    await until(lambda: looks == 10)
    assert not watching.done()
    watching.cancel()
