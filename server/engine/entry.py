"""The record of one model in the supervisor, and what others see of it."""

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from server.engine.engine import Runner
from server.engine.restarts import Crashes
from server.engine.tally import Tally
from server.engine.types import EngineStats, LoadedModel, ModelInfo
from server.errors import ServerError
from server.models.model import Model, ModelKey
from server.models.model_files import ModelFiles

# Ollama shows "for ever" as now plus the largest int64 of nanoseconds.
FOREVER = timedelta(microseconds=(2**63 - 1) // 1000)


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
    """A model in memory, for inventories. `vram_bytes` of it lie on GPUs; `model` is which one
    it is, if the engine has one model per key."""

    key: ModelKey
    info: ModelInfo
    memory_bytes: int
    expires_at: datetime
    stats: EngineStats
    num_restarts: int
    pid: int | None
    vram_bytes: int = 0
    model: Model | None = None


@dataclass(slots=True, eq=False)
class Entry:
    """A model that is loaded, loads, or has failed. `busy` counts the requests that use it
    or wait for it; `reserved_bytes` are set aside for it while it loads."""

    files: ModelFiles
    keep_alive_s: float
    crashes: Crashes
    tally: Tally
    runner: Runner | None = None
    loading: asyncio.Task[Runner] | None = None
    error: ServerError | None = None
    busy: int = 0
    last_used: int = 0
    progress: float = 0.0
    reserved_bytes: int | None = None
    waits_for_room: bool = False
    is_dismissed: bool = False
    unload_timer: asyncio.TimerHandle | None = None
    retry_timer: asyncio.TimerHandle | None = None
    idle_since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.files.weights.name

    @property
    def is_alive(self) -> bool:
        return self.runner is not None and self.runner.is_alive

    @property
    def is_idle(self) -> bool:
        """Whether it could be ended without harm to anybody."""
        return self.is_alive and self.busy == 0

    @property
    def is_given_up(self) -> bool:
        """Whether it crashed so often that it is only tried again later."""
        return self.retry_timer is not None

    @property
    def state(self) -> State:
        if self.is_alive:
            return State.READY
        if self.loading is not None:
            return State.LOADING
        return State.FAILED if self.error else State.ABSENT

    @property
    def held_bytes(self) -> int | None:
        """Memory that it takes or that is set aside for it; None if it takes none."""
        return self.runner.held_bytes if self.runner is not None else self.reserved_bytes

    @property
    def rank(self) -> tuple[bool, int]:
        """Who is unloaded first: least recently used, and those that should stay for ever last."""
        return math.isinf(self.keep_alive_s), self.last_used

    def reserve(self, memory_bytes: int) -> None:
        """Set memory aside for the load that begins now."""
        self.reserved_bytes = memory_bytes

    def expires_at(self) -> datetime:
        since = datetime.now(UTC) if self.busy else self.idle_since
        if math.isinf(self.keep_alive_s):
            return since + FOREVER
        return since + timedelta(seconds=self.keep_alive_s)

    def stop_timers(self) -> None:
        """Neither unload it later nor try again later."""
        for timer in (self.unload_timer, self.retry_timer):
            if timer is not None:
                timer.cancel()
        self.unload_timer = self.retry_timer = None
