"""Anything may happen to several models in any order: the budget holds, no process is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.engine.budget import Budget
from server.engine.config import EngineConfig, FakeCosts
from server.engine.restarts import RestartPolicy
from server.engine.supervisor import State, Supervisor
from server.errors import EngineCrashed, LoadFailed, Overloaded
from server.models.model_files import ModelFiles
from tests.support.supervising import begin, reply, until

GIB = 1 << 30
SIZES = {Path("a"): GIB, Path("b"): GIB, Path("c"): 2 * GIB, Path("huge"): 9 * GIB}
BUDGET = Budget(memory_bytes=2 * GIB, max_loaded=2)
EXPECTED = (EngineCrashed, LoadFailed, Overloaded)

Kind = Literal["ask", "leave", "open", "close", "unload", "crash", "abandon"]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "leave", "open", "close", "unload", "crash", "abandon"]),
        st.sampled_from(list(SIZES)),
    ),
    min_size=4,
    max_size=14,
)


class World:
    """A supervisor, and the requests that are open in it."""

    def __init__(self) -> None:
        costs = FakeCosts(step_s=0.002, memory_bytes=GIB)
        self.supervisor = Supervisor(
            EngineConfig(backend="fake", parallel=2, fake=costs, room_timeout_s=0.3),
            budget=BUDGET,
            needed=lambda files, _: SIZES[files.weights],
            restarts=RestartPolicy(first_s=0.01, longest_s=0.05, most=2),
        )
        # Other tests have processes, too.
        self._others = set(psutil.Process().children())
        self.streams: dict[Path, AsyncGenerator[object]] = {}
        self.waiting: list[asyncio.Task[str]] = []

    async def do(self, kind: Kind, path: Path) -> None:
        match kind:
            case "ask":
                with suppress(*EXPECTED):
                    assert await reply(self.supervisor, "⟦x⟧", path=path) == "x"
            case "leave":
                self.waiting.append(asyncio.create_task(reply(self.supervisor, "⟦x⟧", path=path)))
            case "abandon":
                for task in self.waiting:
                    task.cancel()
            case "open":
                with suppress(*EXPECTED):
                    self.streams.setdefault(path, await begin(self.supervisor, path))
            case "close":
                if stream := self.streams.pop(path, None):
                    await stream.aclose()
            case "unload":
                await self.supervisor.unload(path)
            case "crash":
                for entry in self.supervisor.loaded():
                    if entry.key == ModelFiles(path) and entry.pid is not None:
                        os.kill(entry.pid, signal.SIGKILL)

    def check(self) -> None:
        """What is in memory fits the budget, and every process is one of a known model."""
        loaded = self.supervisor.loaded()
        assert sum(entry.memory_bytes for entry in loaded) <= 2 * GIB and len(loaded) <= 2
        assert self.supervisor.state(Path("huge")) is not State.READY
        for counts in self.supervisor.counts():
            assert counts.num_restarts <= counts.num_crashes
            assert counts.num_evictions <= counts.num_loads

    async def end(self) -> None:
        for stream in self.streams.values():
            await stream.aclose()
        outcomes = await asyncio.gather(*self.waiting, return_exceptions=True)
        allowed = (*EXPECTED, asyncio.CancelledError)
        assert all(outcome == "x" or isinstance(outcome, allowed) for outcome in outcomes)
        self.check()
        # Every process is one of a loaded model, as soon as nothing moves any more.
        await until(lambda: not self.is_moving())
        await self.supervisor.close()
        assert self._runners() == set()

    def is_moving(self) -> bool:
        loading = any(self.supervisor.state(path) is State.LOADING for path in SIZES)
        processes = {child.pid for child in self._runners()}
        return loading or processes != {entry.pid for entry in self.supervisor.loaded()}

    def _runners(self) -> set[psutil.Process]:
        return set(psutil.Process().children()) - self._others


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_whatever_happens(actions: list[tuple[Kind, Path]]) -> None:
    async def live() -> None:
        world = World()
        try:
            for kind, path in actions:
                await world.do(kind, path)
                world.check()
            await world.end()
        finally:
            await world.supervisor.close()

    asyncio.run(live())
