"""Bringing a model up: wait for room, start its runner, and again when that dies."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine

from server.engine.config import EngineConfig
from server.engine.engine import Runner
from server.engine.entry import Entry
from server.engine.requantizer import Requantizer
from server.engine.restarts import RestartPolicy
from server.engine.room import Room
from server.errors import EngineCrashed, Overloaded, ServerError
from server.models.model_files import ModelFiles

_log = logging.getLogger("akash_llm.supervisor")

_LOGGED_PARTS = 4  # a load is logged each time so many equal parts of it are done


class Loader:
    """Loads entries, each in a task of its own that requests may wait for.

    `needed` says how many bytes a model will take and may block, a `requantizer` rewrites
    the weights that are loaded, `rest` is told of an entry that is ready and that nobody
    uses, `spawn` runs what outlives a cancelled load.
    """

    def __init__(
        self,
        config: EngineConfig,
        room: Room[Entry],
        *,
        needed: Callable[[ModelFiles, EngineConfig], int],
        requantizer: Requantizer | None,
        restarts: RestartPolicy,
        rest: Callable[[Entry], None],
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self._config = config
        self._room = room
        self._needed = needed
        self._requantizer = requantizer
        self._restarts = restarts
        self._rest = rest
        self._spawn = spawn

    def begin(self, entry: Entry, dead: Runner | None = None) -> asyncio.Task[Runner]:
        """Load, after the pause that is due if a runner has died."""
        entry.progress = 0.0
        entry.loading = asyncio.create_task(self._attempt(entry, dead))
        entry.loading.add_done_callback(_retrieve)
        return entry.loading

    async def _attempt(self, entry: Entry, dead: Runner | None) -> Runner:
        try:
            if dead is not None:
                await asyncio.sleep(await self._pause_after(entry, dead))
                entry.tally.num_restarts += 1
            return await self._load(entry)
        except Overloaded as error:  # no fault of the model
            _log.warning("%s was not loaded: %s", entry.name, error.message)
            raise
        except ServerError as error:
            entry.error = error
            _log.error("loading failed: %s", error.message)
            raise
        finally:
            if entry.loading is asyncio.current_task():
                entry.loading = None
            entry.reserved_bytes = None
            self._room.changed()

    async def _load(self, entry: Entry) -> Runner:
        await self._take_room(entry)
        try:
            files = entry.files
            if self._requantizer is not None:
                files = await self._requantizer.prepare(files)
            runner = await Runner.start(
                files,
                self._config,
                lambda runner: self._on_exit(entry, runner),
                lambda part: _note_progress(entry, part),
            )
        except ServerError:
            entry.tally.num_failed_loads += 1
            raise
        entry.runner, entry.error = runner, None
        entry.crashes.started(time.monotonic())
        entry.tally.num_loads += 1
        entry.tally.load_ns += runner.load_ns
        _log.info("%s loaded in %.2f s", entry.name, runner.load_ns / 1e9)
        self._room.settle()
        # A runner that died idle keeps the rest of its time.
        if entry.busy == 0 and entry.unload_timer is None:
            self._rest(entry)
        return runner

    async def _take_room(self, entry: Entry) -> None:
        entry.waits_for_room = True
        try:
            need_bytes = await asyncio.to_thread(self._needed, entry.files, self._config)
            await self._room.take(
                need_bytes,
                is_wanted=lambda: entry.busy > 0,
                reserve=lambda: entry.reserve(need_bytes),
            )
        finally:
            entry.waits_for_room = False

    def _on_exit(self, entry: Entry, dead: Runner) -> None:
        if entry.is_dismissed:
            return  # it ends anyway
        entry.runner = None
        entry.tally.crashed(dead.stats, has_hung=dead.has_hung, num_requests=dead.num_cut_off)
        self._spawn(dead.stop())
        self.begin(entry, dead)

    async def _pause_after(self, entry: Entry, dead: Runner) -> float:
        """Seconds until the model is started again. Raises `EngineCrashed` if it crashed so
        often in a row that nobody should wait for it."""
        reason = await dead.reason()
        delay_s = entry.crashes.crashed(time.monotonic(), has_served=dead.has_served)
        if delay_s is not None:
            _log.error("the model runner %s; it is started again in %g s", reason, delay_s)
            return delay_s
        longest_s = self._restarts.longest_s
        entry.retry_timer = asyncio.get_running_loop().call_later(longest_s, self._retry, entry)
        raise EngineCrashed(
            f"the model crashed {entry.crashes.count} times in a row: the model runner {reason}; "
            f"it is started again after {longest_s:g} s",
            retry_after_s=math.ceil(longest_s),
        )

    def _retry(self, entry: Entry) -> None:
        entry.retry_timer = None
        if entry.loading is None and not entry.is_alive:
            entry.tally.num_restarts += 1
            self.begin(entry)


def _note_progress(entry: Entry, part: float) -> None:
    before, entry.progress = entry.progress, part
    if int(before * _LOGGED_PARTS) < int(part * _LOGGED_PARTS) < _LOGGED_PARTS:
        _log.info("%s is loaded to %.0f%%", entry.name, 100 * part)


def _retrieve(task: "asyncio.Task[Runner]") -> None:
    """Mark the outcome as seen; whoever waits for the load gets it from the task."""
    if not task.cancelled():
        task.exception()
