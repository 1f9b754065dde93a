"""Which models are loaded: load on demand, keep alive, unload, restart after a crash.

One `Supervisor` per HTTP process. It starts a runner process per model, shares a load
between requests that wait for it, ends a runner when it has been idle for its
keep-alive, and starts one that died again, later each time it happens.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from server.engine.config import EngineConfig
from server.engine.engine import Runner
from server.engine.requantizer import Requantizer
from server.engine.types import EngineStats, LoadedModel, ModelInfo
from server.errors import EngineCrashed, ServerError
from server.models.gguf import GGUFHeader
from server.models.model_files import ModelFiles

_log = logging.getLogger("akash_llm.supervisor")

DEFAULT_KEEP_ALIVE_S = 300.0

# Ollama shows "for ever" as now plus the largest int64 of nanoseconds.
_FOREVER = timedelta(microseconds=(2**63 - 1) // 1000)

# A runner that dies is started again at once, then after 1, 2, 4 … s; one that worked
# for a minute has proven itself.
_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 30.0
_PROVEN_S = 60.0


class State(StrEnum):
    """What a model is doing, for readiness."""

    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Lease:
    """A loaded model while a request uses it; `load_ns` is how long it waited for it."""

    model: LoadedModel
    load_ns: int


@dataclass(frozen=True, slots=True)
class LoadedEntry:
    """A model in memory, for inventories and metrics."""

    files: ModelFiles
    info: ModelInfo
    expires_at: datetime
    stats: EngineStats
    num_restarts: int
    pid: int | None

    @property
    def path(self) -> Path:
        """Where its weights lie, as they were asked for."""
        return self.files.weights


@dataclass(slots=True, eq=False)
class _Entry:
    files: ModelFiles
    keep_alive_s: float
    runner: Runner | None = None
    loading: asyncio.Task[Runner] | None = None
    error: ServerError | None = None
    busy: int = 0
    timer: asyncio.TimerHandle | None = None
    crashes: int = 0
    restarts: int = 0
    ready_at_s: float = 0.0
    idle_since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_alive(self) -> bool:
        return self.runner is not None and self.runner.is_alive

    def expires_at(self) -> datetime:
        since = datetime.now(UTC) if self.busy else self.idle_since
        if math.isinf(self.keep_alive_s):
            return since + _FOREVER
        return since + timedelta(seconds=self.keep_alive_s)


class Supervisor:
    """Owner of all runner processes of a server.

    What is loaded is named by its files; a plain path means weights without adapters. A
    `requantizer` rewrites the weights before they are loaded.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        keep_alive_s: float = DEFAULT_KEEP_ALIVE_S,
        requantizer: Requantizer | None = None,
    ) -> None:
        self._config = config
        self._keep_alive_s = keep_alive_s
        self._requantizer = requantizer
        self._entries: dict[ModelFiles, _Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def config(self) -> EngineConfig:
        return self._config

    def requantized(self, header: GGUFHeader) -> str:
        """The type that weights with this header are loaded in; empty if it is the file's."""
        return self._requantizer.type_for(header) if self._requantizer else ""

    @asynccontextmanager
    async def use(
        self, files: ModelFiles | Path, *, keep_alive_s: float | None = None
    ) -> AsyncIterator[Lease]:
        """The model of these files, loaded if it is not.

        While the context is open it is not unloaded. `keep_alive_s` (0: unload after
        this, inf: never) stays in force for later requests that bring none, as in
        Ollama. Raises `LoadFailed`.
        """
        started_ns = time.monotonic_ns()
        entry = self._entry(_files(files), keep_alive_s)
        entry.busy += 1
        self._stop_timer(entry)
        try:
            runner = await self._ready(entry)
            yield Lease(runner, time.monotonic_ns() - started_ns)
        finally:
            entry.busy -= 1
            if entry.busy == 0:
                entry.idle_since = datetime.now(UTC)
                self._start_timer(entry)

    def start_loading(self, files: ModelFiles | Path, *, keep_alive_s: float) -> None:
        """Begin to load without waiting; `state` tells how it goes."""
        entry = self._entry(_files(files), keep_alive_s)
        if not entry.is_alive and entry.loading is None:
            self._begin_loading(entry)

    def state(self, files: ModelFiles | Path) -> State:
        """What the model of these files is doing."""
        entry = self._entries.get(_files(files))
        if entry is None:
            return State.ABSENT
        if entry.is_alive:
            return State.READY
        if entry.loading is not None:
            return State.LOADING
        return State.FAILED if entry.error else State.ABSENT

    def loaded(self) -> list[LoadedEntry]:
        """Every model in memory, the one that stays longest first."""
        entries = [
            LoadedEntry(
                files=entry.files,
                info=entry.runner.info,
                expires_at=entry.expires_at(),
                stats=entry.runner.stats,
                num_restarts=entry.restarts,
                pid=entry.runner.pid,
            )
            for entry in self._entries.values()
            if entry.runner is not None and entry.runner.is_alive
        ]
        return sorted(entries, key=lambda e: e.expires_at, reverse=True)

    async def unload(self, files: ModelFiles | Path) -> None:
        """End the runner once nobody uses it; nothing if it is not loaded."""
        entry = self._entries.get(_files(files))
        if entry is None:
            return
        entry.keep_alive_s = 0.0
        if entry.busy == 0:
            await self._end(entry)

    async def close(self) -> None:
        """End every runner. Requests in them fail. Called again, it waits for the first call."""
        self._is_closed = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    # private

    async def _close(self) -> None:
        await asyncio.gather(*(self._end(entry) for entry in list(self._entries.values())))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _entry(self, files: ModelFiles, keep_alive_s: float | None) -> _Entry:
        if self._is_closed:
            raise EngineCrashed("the server is shutting down")
        entry = self._entries.get(files)
        if entry is None:
            entry = self._entries[files] = _Entry(files, self._keep_alive_s)
        if keep_alive_s is not None:
            entry.keep_alive_s = keep_alive_s
        return entry

    def _begin_loading(self, entry: _Entry, delay_s: float = 0.0) -> asyncio.Task[Runner]:
        entry.loading = asyncio.create_task(self._load(entry, delay_s))
        entry.loading.add_done_callback(_retrieve)
        return entry.loading

    async def _ready(self, entry: _Entry) -> Runner:
        if entry.runner is not None and entry.runner.is_alive:
            return entry.runner
        loading = entry.loading or self._begin_loading(entry)
        try:
            # Shielded: one client that goes away must not end the load for the others.
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if loading.cancelled() and not (task and task.cancelling()):
                raise EngineCrashed("the server is shutting down") from None
            raise

    async def _load(self, entry: _Entry, delay_s: float) -> Runner:
        try:
            await asyncio.sleep(delay_s)
            files = entry.files
            if self._requantizer is not None:
                files = await self._requantizer.prepare(files)
            runner = await Runner.start(files, self._config, lambda: self._on_crash(entry))
        except ServerError as error:
            entry.error = error
            _log.error("loading failed: %s", error.message)
            raise
        finally:
            entry.loading = None
        entry.runner, entry.error = runner, None
        entry.ready_at_s = time.monotonic()
        if entry.busy == 0:
            entry.idle_since = datetime.now(UTC)
            self._start_timer(entry)
        _log.info("model loaded in %.2f s", runner.load_ns / 1e9)
        return runner

    def _on_crash(self, entry: _Entry) -> None:
        if self._is_closed or entry.runner is None:
            return
        if time.monotonic() - entry.ready_at_s > _PROVEN_S:
            entry.crashes = 0
        delay_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** (entry.crashes - 1))
        delay_s = delay_s if entry.crashes else 0.0
        entry.crashes += 1
        entry.restarts += 1
        _log.error("a model runner ended unexpectedly; it is started again in %g s", delay_s)
        dead, entry.runner = entry.runner, None
        self._spawn(dead.stop())
        self._begin_loading(entry, delay_s)

    def _start_timer(self, entry: _Entry) -> None:
        self._stop_timer(entry)
        if math.isinf(entry.keep_alive_s) or self._is_closed:
            return
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(
            entry.keep_alive_s, lambda: self._spawn(self._end_if_idle(entry))
        )

    def _stop_timer(self, entry: _Entry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    async def _end_if_idle(self, entry: _Entry) -> None:
        if entry.busy == 0:
            await self._end(entry)

    async def _end(self, entry: _Entry) -> None:
        self._stop_timer(entry)
        self._entries.pop(entry.files, None)
        loading, entry.loading = entry.loading, None
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        runner, entry.runner = entry.runner, None
        if runner is not None:
            await runner.stop()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _files(what: ModelFiles | Path) -> ModelFiles:
    return what if isinstance(what, ModelFiles) else ModelFiles(what)


def _retrieve(task: "asyncio.Task[Runner]") -> None:
    """Mark the outcome as seen; whoever waits for the load gets it from the task."""
    if not task.cancelled():
        task.exception()
