"""Real runner processes with the fake backend: load, share, keep alive, crash, restart."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import psutil
import pytest

from server.durations import FOREVER
from server.engine.config import EngineConfig, FakeCosts
from server.engine.supervisor import State, Supervisor
from server.engine.types import Piece, Segment
from server.errors import EngineCrashed, InvalidRequest, LoadFailed, Overloaded
from server.models.model_files import ModelFiles
from tests.support.supervising import ENDLESS, MODEL, events, pid_of, reply, until


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(backend="fake", parallel=2, fake=FakeCosts(step_s=0.002)))
    yield made
    await made.close()


async def test_a_model_is_loaded_by_the_first_request(supervisor: Supervisor) -> None:
    assert supervisor.state(MODEL) is State.ABSENT
    assert await reply(supervisor, "⟦hello⟧") == "hello"
    assert supervisor.state(MODEL) is State.READY
    [entry] = supervisor.loaded()
    assert (entry.key, entry.info.architecture, entry.num_restarts) == (
        ModelFiles(MODEL),
        "fake",
        0,
    )


async def test_requests_that_come_together_share_one_load(supervisor: Supervisor) -> None:
    texts = await asyncio.gather(*(reply(supervisor, f"⟦{i}⟧") for i in range(8)))
    assert texts == [str(i) for i in range(8)]
    assert len(supervisor.loaded()) == 1


async def test_two_streams_interleave(supervisor: Supervisor) -> None:
    order: list[str] = []

    async def listen(name: str) -> None:
        async for event in events(supervisor, f"⟦{name * 50}⟧"):
            if isinstance(event, Piece):
                order.append(name)

    await asyncio.gather(listen("a"), listen("b"))
    first, last = order.index("b"), len(order) - 1 - order[::-1].index("a")
    assert first < last, "b began only after a had ended"
    assert sum(x != y for x, y in pairwise(order)) > 20


async def test_a_killed_runner_fails_its_requests_and_comes_back(supervisor: Supervisor) -> None:
    stream = events(supervisor, "⟦x⟧", sampling=ENDLESS)
    assert isinstance(await anext(stream), Piece)
    first = pid_of(supervisor)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineCrashed, match="was ended by SIGKILL"):
        async for _ in stream:
            pass
    assert await reply(supervisor, "⟦again⟧") == "again"
    assert pid_of(supervisor) != first
    assert supervisor.loaded()[0].num_restarts == 1


async def test_a_runner_that_dies_idle_comes_back_by_itself(supervisor: Supervisor) -> None:
    await reply(supervisor, "⟦a⟧")
    first = pid_of(supervisor)
    os.kill(first, signal.SIGABRT)
    await until(lambda: supervisor.loaded() and pid_of(supervisor) != first)
    assert supervisor.loaded()[0].num_restarts == 1


async def test_closing_a_stream_frees_its_slot(supervisor: Supervisor) -> None:
    streams = [events(supervisor, "⟦x⟧", sampling=ENDLESS) for _ in range(2)]
    for stream in streams:
        await anext(stream)
    await until(lambda: supervisor.loaded()[0].stats.num_running == 2)
    for stream in streams:
        await stream.aclose()
    await until(lambda: supervisor.loaded()[0].stats.num_running == 0)
    assert await reply(supervisor, "⟦free⟧") == "free"


async def test_a_cancelled_client_does_not_end_the_load_of_the_others() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=0.2)))
    try:
        gone = asyncio.create_task(reply(supervisor, "⟦a⟧"))
        stays = asyncio.create_task(reply(supervisor, "⟦b⟧"))
        await until(lambda: supervisor.state(MODEL) is State.LOADING)
        gone.cancel()
        assert await stays == "b"
    finally:
        await supervisor.close()


async def test_keep_alive_zero_unloads_after_the_request(supervisor: Supervisor) -> None:
    assert await reply(supervisor, "⟦a⟧", keep_alive_s=0.0) == "a"
    await until(lambda: supervisor.state(MODEL) is State.ABSENT)


async def test_keep_alive_holds_from_the_end_of_the_last_request(supervisor: Supervisor) -> None:
    stream = events(supervisor, "⟦x⟧", keep_alive_s=0.0, sampling=ENDLESS)
    await anext(stream)
    assert await reply(supervisor, "⟦b⟧") == "b"
    assert supervisor.state(MODEL) is State.READY, "it was unloaded under a running request"
    await stream.aclose()
    await until(lambda: supervisor.state(MODEL) is State.ABSENT)


async def test_keep_alive_is_sticky_and_for_ever_shows_as_centuries(
    supervisor: Supervisor,
) -> None:
    await reply(supervisor, "⟦a⟧", keep_alive_s=FOREVER)
    await reply(supervisor, "⟦b⟧")
    assert supervisor.loaded()[0].expires_at.year > 2300


async def test_unload_ends_the_process(supervisor: Supervisor) -> None:
    await reply(supervisor, "⟦a⟧")
    process = psutil.Process(pid_of(supervisor))
    await supervisor.unload(MODEL)
    await supervisor.unload(MODEL)
    assert not process.is_running()
    assert supervisor.loaded() == []


async def test_close_leaves_no_process(supervisor: Supervisor) -> None:
    stream = events(supervisor, "⟦x⟧", sampling=ENDLESS)
    await anext(stream)
    process = psutil.Process(pid_of(supervisor))
    await supervisor.close()
    assert not process.is_running()
    with pytest.raises(Overloaded):
        async for _ in stream:
            pass


async def test_closing_while_a_model_loads_is_an_error_for_who_waits() -> None:
    loading = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=30)))
    waiting = asyncio.create_task(reply(loading, "x"))
    await until(lambda: loading.state(MODEL) is State.LOADING)
    await loading.close()
    with pytest.raises(Overloaded, match="shutting down"):
        await waiting


async def test_whoever_closes_second_waits_for_the_runner_too(supervisor: Supervisor) -> None:
    await reply(supervisor, "x")
    runner = psutil.Process(pid_of(supervisor))
    runner.suspend()  # it cannot go by itself
    first = asyncio.create_task(supervisor.close())
    await asyncio.sleep(0)
    first.cancel()
    await supervisor.close()
    assert not runner.is_running()


async def test_a_runner_does_not_go_before_its_server(supervisor: Supervisor) -> None:
    await reply(supervisor, "x")
    pid = pid_of(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert await reply(supervisor, "⟦y⟧") == "y"
    assert pid_of(supervisor) == pid


async def test_a_load_that_takes_too_long_is_given_up() -> None:
    config = EngineConfig(backend="fake", load_timeout_s=0.2, fake=FakeCosts(load_s=60))
    supervisor = Supervisor(config)
    before = set(psutil.Process().children())
    with pytest.raises(LoadFailed, match=r"0\.2 s"):
        await reply(supervisor, "⟦a⟧")
    assert supervisor.state(MODEL) is State.FAILED
    assert not set(psutil.Process().children()) - before
    await supervisor.close()


async def test_a_full_queue_is_overload() -> None:
    supervisor = Supervisor(
        EngineConfig(backend="fake", parallel=1, queue=1, fake=FakeCosts(step_s=0.002))
    )
    try:
        running = events(supervisor, "⟦x⟧", sampling=ENDLESS)
        await anext(running)
        waiting = asyncio.create_task(reply(supervisor, "⟦w⟧"))
        await until(lambda: supervisor.loaded()[0].stats.num_waiting == 1)
        with pytest.raises(Overloaded, match="maximum pending requests"):
            await reply(supervisor, "⟦refused⟧")
        await running.aclose()
        assert await waiting == "w"
    finally:
        await supervisor.close()


async def test_tokens_and_text_cross_the_border(supervisor: Supervisor) -> None:
    async with supervisor.use(MODEL) as lease:
        tokens = await lease.model.tokenize(
            [Segment("<|im_start|>"), Segment("<|im_start|>", special=False)], add_bos=True
        )
        assert len(tokens) == 1 + len("<|im_start|>")
        assert await lease.model.detokenize(tokens) == "<|im_start|>" * 2
        with pytest.raises(InvalidRequest, match="vocabulary"):
            await lease.model.detokenize([10**6])


async def test_progress_grows_while_a_model_loads() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=1)))
    try:
        assert supervisor.progress(MODEL) == 0
        waiting = asyncio.create_task(reply(supervisor, "⟦a⟧"))
        seen = [0.0]
        while not waiting.done():
            seen.append(supervisor.progress(MODEL))
            await asyncio.sleep(0)
        assert seen == sorted(seen) and len(set(seen)) > 3
        assert await waiting == "a"
        assert supervisor.progress(MODEL) == 1
    finally:
        await supervisor.close()


async def test_who_joins_a_load_is_told_how_long_it_waited() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=0.5)))
    try:
        first = asyncio.create_task(_lease_ns(supervisor))
        await until(lambda: supervisor.progress(MODEL) > 0)
        second = asyncio.create_task(_lease_ns(supervisor))
        await asyncio.sleep(0)
        joined_ns = still_loading_ns = time.monotonic_ns()
        while supervisor.state(MODEL) is State.LOADING:
            still_loading_ns = time.monotonic_ns()
            await asyncio.sleep(0)
        first_ns, second_ns = await asyncio.gather(first, second)
        assert first_ns > second_ns >= still_loading_ns - joined_ns > 0
        assert await _lease_ns(supervisor) < second_ns
    finally:
        await supervisor.close()


async def test_a_load_goes_on_when_everybody_has_left() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=0.3)))
    try:
        gone = asyncio.create_task(reply(supervisor, "x"))
        await until(lambda: supervisor.progress(MODEL) > 0)
        gone.cancel()
        await until(lambda: supervisor.state(MODEL) is State.READY)
        assert [counts.num_loads for counts in supervisor.counts()] == [1]
    finally:
        await supervisor.close()


async def test_closing_in_the_middle_of_a_load_leaves_nothing() -> None:
    before = set(psutil.Process().children())
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=20)))
    supervisor.start_loading(MODEL, keep_alive_s=FOREVER)
    await until(lambda: supervisor.progress(MODEL) > 0)
    await supervisor.close()
    assert set(psutil.Process().children()) <= before


async def _lease_ns(supervisor: Supervisor) -> int:
    async with supervisor.use(MODEL) as lease:
        return lease.load_ns
