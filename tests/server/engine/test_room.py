"""Several models under one budget: who is unloaded, who waits, who is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from server.durations import FOREVER
from server.engine.budget import Budget
from server.engine.config import EngineConfig, FakeCosts
from server.engine.supervisor import State, Supervisor
from server.errors import LoadFailed, Overloaded
from server.models.model_files import Adapter, ModelFiles
from tests.support.supervising import begin, pid_of, reply, until

GIB = 1 << 30
A, B, C, HUGE = (Path(name) for name in ("a", "b", "c", "huge"))

Make = Callable[..., Supervisor]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes supervisors under which every model but `HUGE` takes a GiB."""
    made: list[Supervisor] = []

    def supervisor(
        budget: Budget, *, expected: int = GIB, taken: int = GIB, **config: float
    ) -> Supervisor:
        costs = FakeCosts(step_s=0.002, memory_bytes=taken)
        settings = EngineConfig(backend="fake", parallel=2, fake=costs, **config)  # type: ignore[arg-type]
        sizes = {HUGE: 9 * GIB}
        made.append(
            Supervisor(
                settings, budget=budget, needed=lambda files, _: sizes.get(files.weights, expected)
            )
        )
        return made[-1]

    before = set(psutil.Process().children())
    yield supervisor
    for each in made:
        await each.close()
    assert set(psutil.Process().children()) <= before


def in_memory(supervisor: Supervisor) -> set[Path]:
    keys = [entry.key for entry in supervisor.loaded()]
    return {key.weights for key in keys if isinstance(key, ModelFiles)}


async def test_the_least_recently_used_idle_model_goes(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=2 * GIB))
    for path in (A, B, A):
        await reply(supervisor, "x", path=path)
    assert await reply(supervisor, "⟦c⟧", path=C) == "c"
    assert in_memory(supervisor) == {A, C}
    [b] = [each for each in supervisor.counts() if each.key == ModelFiles(B)]
    assert (b.num_evictions, b.is_loaded, b.memory_bytes) == (1, False, 0)


async def test_what_may_still_be_parked_is_not_given_away(make: Make) -> None:
    budget = Budget(memory_bytes=3 * GIB)
    supervisor = make(budget, expected=2 * GIB, taken=GIB, parking_bytes=GIB)
    await reply(supervisor, "x", path=A)
    await reply(supervisor, "x", path=B)
    assert in_memory(supervisor) == {B}


async def test_the_same_weights_with_another_adapter_are_another_model(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=GIB))
    plain, tuned = ModelFiles(A), ModelFiles(A, (Adapter(B),))
    for files in (plain, tuned):
        async with supervisor.use(files):
            assert [each.key for each in supervisor.loaded()] == [files]
    states = [supervisor.state(files) for files in (A, plain, tuned)]
    assert states == [State.ABSENT, State.ABSENT, State.READY]
    assert [supervisor.progress(files) for files in (A, tuned)] == [0, 1]
    evictions = {counts.key: counts.num_evictions for counts in supervisor.counts()}
    assert evictions == {plain: 1, tuned: 0}


async def test_the_number_of_models_is_bounded_too(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1))
    for path in (A, B, C):
        await reply(supervisor, "x", path=path)
        assert in_memory(supervisor) == {path}


async def test_a_model_that_stays_for_ever_goes_only_when_nothing_else_can(make: Make) -> None:
    supervisor = make(Budget(max_loaded=2))
    await reply(supervisor, "x", FOREVER, path=A)
    await reply(supervisor, "x", path=B)
    await reply(supervisor, "x", path=C)
    assert in_memory(supervisor) == {A, C}
    stream = await begin(supervisor, C)
    await reply(supervisor, "x", path=B)
    assert in_memory(supervisor) == {B, C}
    await stream.aclose()


async def test_a_busy_model_is_waited_for(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=GIB))
    stream = await begin(supervisor, A)
    runner = psutil.Process(pid_of(supervisor, A))
    waiting = asyncio.create_task(reply(supervisor, "⟦b⟧", path=B))
    await until(lambda: supervisor.state(B) is State.LOADING)
    assert await reply(supervisor, "⟦a⟧", path=A) == "a", (
        "one that is loaded is used past the queue"
    )
    assert not waiting.done() and runner.is_running()
    await stream.aclose()
    assert await waiting == "b"
    assert not runner.is_running() and in_memory(supervisor) == {B}


async def test_first_come_first_served(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=GIB))
    stream = await begin(supervisor, A)
    order: list[Path] = []

    async def ask(path: Path) -> None:
        await reply(supervisor, "x", path=path)
        order.append(path)

    tasks = []
    for path in (B, C):
        tasks.append(asyncio.create_task(ask(path)))
        await until(lambda path=path: supervisor.state(path) is State.LOADING)  # type: ignore[misc]
    await stream.aclose()
    await asyncio.gather(*tasks)
    assert order == [B, C]


async def test_two_models_that_wait_for_each_other_both_come(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=GIB))
    asked = [reply(supervisor, f"⟦{n}⟧", path=path) for n, path in enumerate([A, B] * 4)]
    assert await asyncio.gather(*asked) == [str(n) for n in range(8)]
    assert len(in_memory(supervisor)) == 1


async def test_a_model_that_never_fits_is_refused_at_once(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=8 * GIB))
    stream = await begin(supervisor, A)
    with pytest.raises(LoadFailed, match="needs about 9 GiB of memory, the budget is 8 GiB: lower"):
        await reply(supervisor, "x", path=HUGE)
    assert supervisor.state(HUGE) is State.FAILED
    assert in_memory(supervisor) == {A}
    await stream.aclose()


async def test_waiting_is_bounded(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1), room_timeout_s=0.1)
    stream = await begin(supervisor, A)
    with pytest.raises(Overloaded, match="all in use") as caught:
        await reply(supervisor, "x", path=B)
    assert caught.value.retry_after_s == 1
    assert supervisor.state(B) is State.ABSENT, "a model is not broken because others are busy"
    await stream.aclose()
    assert await reply(supervisor, "⟦b⟧", path=B) == "b"


async def test_who_leaves_while_waiting_leaves_nothing(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1))
    stream = await begin(supervisor, A)
    before = psutil.Process().children()
    waiting = [asyncio.create_task(reply(supervisor, "x", path=path)) for path in (B, B, C)]
    await until(lambda: supervisor.state(B) is supervisor.state(C) is State.LOADING)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert supervisor.state(B) is supervisor.state(C) is State.ABSENT
    await stream.aclose()
    assert in_memory(supervisor) == {A} and psutil.Process().children() == before


async def test_who_comes_just_after_the_last_one_left_is_served(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1))
    stream = await begin(supervisor, A)
    gone = asyncio.create_task(reply(supervisor, "x", path=B))
    await until(lambda: supervisor.state(B) is State.LOADING)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    waiting = asyncio.create_task(reply(supervisor, "⟦b⟧", path=B))
    await until(lambda: supervisor.state(B) is State.LOADING)
    await stream.aclose()
    assert await waiting == "b"


async def test_a_load_that_nobody_waits_for_displaces_nobody(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1))
    await reply(supervisor, "x", path=A)
    supervisor.start_loading(B, keep_alive_s=FOREVER)
    await until(lambda: supervisor.state(B) is not State.LOADING)
    assert in_memory(supervisor) == {A} and supervisor.state(B) is State.ABSENT


async def test_what_is_measured_counts_not_what_was_expected(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=3 * GIB), expected=GIB, taken=2 * GIB)
    await reply(supervisor, "x", path=A)
    assert supervisor.loaded()[0].memory_bytes == 2 * GIB
    await reply(supervisor, "x", path=B)
    await until(lambda: in_memory(supervisor) == {B})


async def test_one_that_is_larger_than_the_budget_after_all_stays_alone(make: Make) -> None:
    supervisor = make(Budget(memory_bytes=2 * GIB), expected=GIB, taken=3 * GIB)
    for path in (A, A, B, B):
        await reply(supervisor, "x", path=path)
        assert in_memory(supervisor) == {path}
    assert [each.num_loads for each in supervisor.counts()] == [1, 1]


async def test_a_client_that_leaves_does_not_keep_a_model_from_being_unloaded(make: Make) -> None:
    supervisor = make(Budget(max_loaded=1))
    await reply(supervisor, "x", path=A)
    runner = psutil.Process(pid_of(supervisor, A))
    runner.suspend()  # it has to be killed, which takes a while
    unloading: Awaitable[None] = asyncio.create_task(supervisor.unload(A))
    await asyncio.sleep(0)
    unloading.cancel()  # type: ignore[attr-defined]
    assert await reply(supervisor, "⟦b⟧", path=B) == "b"
    assert not runner.is_running()
