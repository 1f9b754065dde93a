"""Real runner processes with the fake backend: load, share, keep alive, crash, restart."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from server.durations import FOREVER
from server.engine.config import EngineConfig, FakeCosts
from server.engine.supervisor import State, Supervisor
from server.engine.types import Finish, Piece, Request, Sampling, Segment
from server.errors import EngineCrashed, InvalidRequest, LoadFailed, Overloaded

MODEL = Path("a-model")
ENDLESS = Sampling(ignore_eos=True)


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(backend="fake", parallel=2, fake=FakeCosts(step_s=0.002)))
    yield made
    await made.close()


async def events(
    supervisor: Supervisor, prompt: str, keep_alive_s: float | None = None, **request: object
) -> AsyncIterator[Piece | Finish]:
    async with supervisor.use(MODEL, keep_alive_s=keep_alive_s) as lease:
        tokens = await lease.model.tokenize([Segment(prompt)], add_bos=True)
        async with aclosing(
            lease.model.generate(Request(tokens=tokens, **request))  # type: ignore[arg-type]
        ) as stream:
            async for event in stream:
                yield event


async def reply(supervisor: Supervisor, prompt: str, **request: object) -> str:
    pieces = [e async for e in events(supervisor, prompt, **request) if isinstance(e, Piece)]  # type: ignore[arg-type]
    return "".join(piece.text for piece in pieces)


async def until(condition: object) -> None:
    """Wait for something that the event loop will bring; the test's limit bounds it."""
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


def pid_of(supervisor: Supervisor) -> int:
    [entry] = supervisor.loaded()
    assert entry.pid is not None
    return entry.pid


async def test_a_model_is_loaded_by_the_first_request(supervisor: Supervisor) -> None:
    assert supervisor.state(MODEL) is State.ABSENT
    assert await reply(supervisor, "⟦hello⟧") == "hello"
    assert supervisor.state(MODEL) is State.READY
    [entry] = supervisor.loaded()
    assert (entry.path, entry.info.architecture, entry.num_restarts) == (MODEL, "fake", 0)


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
    with pytest.raises(EngineCrashed, match="ended unexpectedly"):
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
        await stream.aclose()  # type: ignore[attr-defined]
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
    await stream.aclose()  # type: ignore[attr-defined]
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
    with pytest.raises(EngineCrashed):
        async for _ in stream:
            pass


async def test_closing_while_a_model_loads_is_an_error_for_who_waits() -> None:
    loading = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(load_s=30)))
    waiting = asyncio.create_task(reply(loading, "x"))
    await until(lambda: loading.state(MODEL) is State.LOADING)
    await loading.close()
    with pytest.raises(EngineCrashed, match="shutting down"):
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
        await running.aclose()  # type: ignore[attr-defined]
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
