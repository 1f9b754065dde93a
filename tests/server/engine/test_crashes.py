"""Runners that die: what their requests are told, when they come back, what is counted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from server.durations import FOREVER
from server.engine.config import EngineConfig, FakeCosts
from server.engine.restarts import RestartPolicy
from server.engine.supervisor import State, Supervisor
from server.engine.tally import ModelCounts
from server.engine.types import EmbedRequest
from server.errors import EngineCrashed, LoadFailed
from tests.support.supervising import MODEL, begin, pid_of, reply, until

CONFIG = EngineConfig(backend="fake", parallel=2, fake=FakeCosts(step_s=0.002))


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(CONFIG, restarts=RestartPolicy(first_s=0.01, longest_s=0.5, most=3))
    yield made
    await made.close()


def counts(supervisor: Supervisor) -> ModelCounts:
    [each] = supervisor.counts()
    return each


async def kill(supervisor: Supervisor, number: int = signal.SIGKILL) -> None:
    """Kill the runner and wait until that is known."""
    num_crashes = counts(supervisor).num_crashes
    os.kill(pid_of(supervisor), number)
    await until(lambda: counts(supervisor).num_crashes > num_crashes)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
async def test_requests_are_told_the_signal(supervisor: Supervisor, number: signal.Signals) -> None:
    streams = [await begin(supervisor) for _ in range(2)]
    os.kill(pid_of(supervisor), number)
    for stream in streams:
        with pytest.raises(EngineCrashed) as caught:
            async for _ in stream:
                pass
        assert caught.value.message == f"the model runner was ended by {number.name}"
        assert ("memory" in caught.value.hint) == (number is signal.SIGKILL)
    assert counts(supervisor).num_crashed_requests == 2


async def test_an_end_while_loading_is_told_too() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=20)))
    try:
        before = _children()
        waiting = asyncio.create_task(reply(supervisor, "x"))
        await until(lambda: supervisor.progress(MODEL) > 0)
        [pid] = _children() - before
        os.kill(pid, signal.SIGABRT)
        with pytest.raises(LoadFailed, match="was ended by SIGABRT while loading") as caught:
            await waiting
        assert "memory" in caught.value.hint
        assert counts(supervisor).num_failed_loads == 1
    finally:
        await supervisor.close()


async def test_a_crash_loop_ends(supervisor: Supervisor) -> None:
    await reply(supervisor, "x")
    for crash in range(1, 4):
        await until(lambda: supervisor.state(MODEL) is State.READY)
        await kill(supervisor, signal.SIGABRT)
        assert counts(supervisor).num_crashes == crash
    await until(lambda: supervisor.state(MODEL) is State.FAILED)
    with pytest.raises(EngineCrashed) as caught:
        await reply(supervisor, "x")
    assert caught.value.message == (
        "the model crashed 3 times in a row: the model runner was ended by SIGABRT; "
        "it is started again after 0.5 s"
    )
    assert caught.value.retry_after_s == 1
    await until(lambda: supervisor.state(MODEL) is State.READY)
    assert await reply(supervisor, "⟦back⟧") == "back"
    assert counts(supervisor).num_restarts == 3


async def test_a_runner_that_serves_between_its_crashes_is_never_given_up(
    supervisor: Supervisor,
) -> None:
    for crash in range(1, 6):
        assert await reply(supervisor, "⟦x⟧") == "x"
        await kill(supervisor)
        assert counts(supervisor).num_crashes == crash
    assert await reply(supervisor, "⟦still here⟧") == "still here"


async def test_a_runner_that_embeds_serves_as_well(supervisor: Supervisor) -> None:
    for crash in range(1, 5):
        async with supervisor.use(MODEL) as lease:
            await lease.model.embed(EmbedRequest(inputs=[[65]]))
        await kill(supervisor)
        assert counts(supervisor).num_crashes == crash
    assert await reply(supervisor, "⟦still here⟧") == "still here"


async def test_requests_wait_for_a_restart() -> None:
    """They come in the pause before it, and are neither refused nor do they end it."""
    supervisor = Supervisor(CONFIG, restarts=RestartPolicy(first_s=0.5))
    try:
        await _kill_twice(supervisor)
        assert supervisor.state(MODEL) is State.LOADING
        assert await asyncio.gather(*(reply(supervisor, f"⟦{n}⟧") for n in "ab")) == ["a", "b"]
        assert counts(supervisor).num_restarts == 2
    finally:
        await supervisor.close()


async def test_counters_go_on_after_a_crash_and_an_unload(supervisor: Supervisor) -> None:
    streams = [await begin(supervisor)]
    await until(lambda: counts(supervisor).stats.num_running == 1)
    os.kill(pid_of(supervisor), signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        async for _ in streams[0]:
            pass
    assert counts(supervisor).stats.num_running == 0, "nothing runs in a process that is gone"
    await reply(supervisor, "x", FOREVER)
    await supervisor.unload(MODEL)
    assert not counts(supervisor).is_loaded
    await reply(supervisor, "x")
    after = counts(supervisor)
    assert (after.num_loads, after.num_crashes, after.num_restarts) == (3, 1, 1)
    assert after.num_crashed_requests == 1 and after.load_ns > 0


async def test_closing_during_the_pause_leaves_nothing() -> None:
    supervisor = Supervisor(CONFIG, restarts=RestartPolicy(first_s=600))
    before = _children()
    await _kill_twice(supervisor)
    await supervisor.close()
    assert _children() == before


async def _kill_twice(supervisor: Supervisor) -> None:
    """The second time before it has proven itself, so that there is a pause."""
    await reply(supervisor, "x")
    for _ in range(2):
        await until(lambda: supervisor.state(MODEL) is State.READY)
        await kill(supervisor)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}
