"""Which models are loaded: load on demand, keep alive, unload, restart after a crash.

One `Supervisor` per HTTP process. It starts a runner process per model, shares a load
between requests that wait for it, ends a runner when it has been idle for its
keep-alive or when another model needs its memory, and starts one that died again, later
each time it happens. A load that all requests have left goes on, as in Ollama: the next
one finds it done; only while it waits for memory it is given up.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from server.engine import memory
from server.engine.budget import Budget, Holding
from server.engine.config import EngineConfig
from server.engine.engine import Runner
from server.engine.entry import Entry, Lease, LoadedEntry, State
from server.engine.loader import Loader
from server.engine.requantizer import Requantizer
from server.engine.restarts import Crashes, RestartPolicy
from server.engine.room import Room
from server.engine.tally import ModelCounts, Tally
from server.errors import EngineCrashed, Overloaded
from server.models.gguf import GGUFHeader
from server.models.model_files import ModelFiles

__all__ = ["DEFAULT_KEEP_ALIVE_S", "Lease", "LoadedEntry", "State", "Supervisor"]

_log = logging.getLogger("akash_llm.supervisor")

DEFAULT_KEEP_ALIVE_S = 300.0


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
        budget: Budget = Budget(),  # noqa: B008 (frozen)
        needed: Callable[[ModelFiles, EngineConfig], int] = memory.needed,
        restarts: RestartPolicy = RestartPolicy(),  # noqa: B008 (frozen)
    ) -> None:
        """`needed` says how many bytes a model will take; it may block."""
        self._config = config
        self._keep_alive_s = keep_alive_s
        self._requantizer = requantizer
        self._restarts = restarts
        self._room: Room[Entry] = Room(
            budget,
            timeout_s=config.room_timeout_s,
            holdings=self._holdings,
            dismiss=self._displace,
        )
        self._loader = Loader(
            config,
            self._room,
            needed=needed,
            requantizer=requantizer,
            restarts=restarts,
            rest=self._rest,
            spawn=self._spawn,
        )
        self._uses = itertools.count(1)
        self._entries: dict[ModelFiles, Entry] = {}
        self._leaving: set[Entry] = set()
        self._tallies: dict[ModelFiles, Tally] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def config(self) -> EngineConfig:
        return self._config

    @property
    def budget(self) -> Budget:
        return self._room.budget

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
        Ollama. Raises `LoadFailed`, `Overloaded` if there is no room for it.
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
            entry.last_used = next(self._uses)
            if entry.busy == 0:
                self._rest(entry)

    def start_loading(self, files: ModelFiles | Path, *, keep_alive_s: float) -> None:
        """Begin to load without waiting, if there is room; `state` tells how it goes."""
        entry = self._entry(_files(files), keep_alive_s)
        if not entry.is_alive and entry.loading is None:
            self._loader.begin(entry)

    def state(self, files: ModelFiles | Path) -> State:
        """What the model of these files is doing."""
        entry = self._entries.get(_files(files))
        return entry.state if entry else State.ABSENT

    def progress(self, files: ModelFiles | Path) -> float:
        """The part of the model's weights that is loaded, 0 to 1."""
        entry = self._entries.get(_files(files))
        if entry is None:
            return 0.0
        return 1.0 if entry.is_alive else entry.progress

    def problem(self, files: ModelFiles | Path) -> str:
        """Why the model of these files has failed; empty if it has not."""
        entry = self._entries.get(_files(files))
        has_failed = entry is not None and entry.state is State.FAILED
        return entry.error.message if entry and entry.error and has_failed else ""

    def loaded(self) -> list[LoadedEntry]:
        """Every model in memory, the one that stays longest first."""
        entries = [
            LoadedEntry(
                key=entry.files,
                info=entry.runner.info,
                memory_bytes=entry.runner.memory_bytes,
                expires_at=entry.expires_at(),
                stats=entry.runner.stats,
                num_restarts=entry.tally.num_restarts,
                pid=entry.runner.pid,
            )
            for entry in self._entries.values()
            if entry.runner is not None and entry.runner.is_alive
        ]
        return sorted(entries, key=lambda e: e.expires_at, reverse=True)

    def counts(self) -> list[ModelCounts]:
        """What every model that was ever asked for has done, for metrics."""
        return [
            tally.counts(files, entry.runner if (entry := self._entries.get(files)) else None)
            for files, tally in self._tallies.items()
        ]

    async def unload(self, files: ModelFiles | Path) -> None:
        """End the runner once nobody uses it; nothing if it is not loaded."""
        entry = self._entries.get(_files(files))
        if entry is None:
            return
        entry.keep_alive_s = 0.0
        if entry.busy == 0:
            await asyncio.shield(self._dismiss(entry))

    async def close(self) -> None:
        """End every runner. Requests in them fail. Called again, it waits for the first call."""
        self._is_closed = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    # entries

    def _entry(self, files: ModelFiles, keep_alive_s: float | None) -> Entry:
        if self._is_closed:
            raise Overloaded("the server is shutting down", retry_after_s=1)
        entry = self._entries.get(files)
        if entry is None:
            tally = self._tallies.setdefault(files, Tally())
            entry = Entry(files, self._keep_alive_s, Crashes(self._restarts), tally)
            self._entries[files] = entry
        if keep_alive_s is not None:
            entry.keep_alive_s = keep_alive_s
        return entry

    def _rest(self, entry: Entry) -> None:
        """Nobody uses it any more: it may be unloaded, later or for another one."""
        if entry.is_dismissed:
            return
        entry.idle_since = datetime.now(UTC)
        if entry.waits_for_room and entry.loading is not None:
            entry.loading.cancel()
            entry.loading = None
        self._start_timer(entry)
        self._room.settle()
        self._room.changed()

    def _start_timer(self, entry: Entry) -> None:
        self._stop_timer(entry)
        if math.isinf(entry.keep_alive_s) or self._is_closed:
            return
        loop = asyncio.get_running_loop()
        entry.unload_timer = loop.call_later(entry.keep_alive_s, self._expire, entry)

    def _stop_timer(self, entry: Entry) -> None:
        if entry.unload_timer is not None:
            entry.unload_timer.cancel()
            entry.unload_timer = None

    def _expire(self, entry: Entry) -> None:
        # One that keeps crashing is remembered until it is tried again.
        if entry.busy == 0 and not entry.is_given_up:
            self._dismiss(entry)

    # loading

    async def _ready(self, entry: Entry) -> Runner:
        if entry.runner is not None and entry.runner.is_alive:
            return entry.runner
        if entry.is_given_up and entry.error is not None:
            error = entry.error
            raise EngineCrashed(error.message, retry_after_s=error.retry_after_s)
        if entry.busy > self._config.queue + self._config.parallel:
            raise Overloaded(
                "server busy, please try again.  maximum pending requests exceeded",
                retry_after_s=1,
            )
        loading = entry.loading or self._loader.begin(entry)
        try:
            # Shielded: one client that goes away must not end the load for the others.
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if loading.cancelled() and not (task and task.cancelling()):
                raise Overloaded("the server is shutting down", retry_after_s=1) from None
            raise

    # ending

    def _holdings(self) -> list[Holding[Entry]]:
        return [
            Holding(entry, entry.held_bytes, entry.is_idle, entry in self._leaving, entry.rank)
            for entry in (*self._entries.values(), *self._leaving)
            if entry.held_bytes is not None
        ]

    def _displace(self, entry: Entry) -> None:
        _log.info("%s is unloaded: another model needs its memory", entry.name)
        entry.tally.num_evictions += 1
        self._dismiss(entry)

    def _dismiss(self, entry: Entry) -> asyncio.Task[None]:
        """Begin to end an entry; a request that comes now loads its model anew."""
        entry.is_dismissed = True
        entry.stop_timers()
        del self._entries[entry.files]
        self._leaving.add(entry)
        if entry.runner is not None:
            entry.tally.retire(entry.runner.stats)
        return self._spawn(self._end(entry))

    async def _end(self, entry: Entry) -> None:
        loading, entry.loading = entry.loading, None
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if entry.runner is not None:
            await entry.runner.stop()
        self._leaving.discard(entry)
        self._room.changed()

    async def _close(self) -> None:
        for entry in list(self._entries.values()):
            self._dismiss(entry)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _files(what: ModelFiles | Path) -> ModelFiles:
    return what if isinstance(what, ModelFiles) else ModelFiles(what)
