"""What one model has done since the server began, over all of its runners."""

from dataclasses import dataclass, field

import msgspec

from server.engine.engine import Runner
from server.engine.types import EngineCounts, EngineStats
from server.models.model import ModelKey
from server.models.model_files import ModelFiles


class ModelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A model for metrics. `stats` has the sums over all runners that it had."""

    key: ModelKey
    is_loaded: bool
    memory_bytes: int
    stats: EngineStats
    num_loads: int
    num_failed_loads: int
    load_ns: int
    num_restarts: int
    num_crashes: int
    num_hung: int
    num_crashed_requests: int
    num_evictions: int


@dataclass(slots=True)
class Tally:
    """The counters of one model; they outlive its runners."""

    past: EngineStats = field(default_factory=EngineStats)
    num_loads: int = 0
    num_failed_loads: int = 0
    load_ns: int = 0
    num_restarts: int = 0
    num_crashes: int = 0
    num_hung: int = 0
    num_crashed_requests: int = 0
    num_evictions: int = 0

    def crashed(self, last: EngineStats, *, has_hung: bool, num_requests: int) -> None:
        """A runner ended unexpectedly, and with it so many requests."""
        self.num_crashes += 1
        self.num_hung += has_hung
        self.num_crashed_requests += num_requests
        self.retire(last)

    def retire(self, last: EngineStats) -> None:
        """A runner is gone: keep what it has counted, forget how it was."""
        self.past = EngineStats(**_counters(self.total(last)))

    def counts(self, files: ModelFiles, runner: Runner | None) -> ModelCounts:
        """The counters as they are now; `runner` is the one of the model, if it has one."""
        is_loaded = runner is not None and runner.is_alive
        return ModelCounts(
            key=files,
            is_loaded=is_loaded,
            memory_bytes=runner.memory_bytes if runner and is_loaded else 0,
            stats=self.total(runner.stats if runner else EngineStats()),
            num_loads=self.num_loads,
            num_failed_loads=self.num_failed_loads,
            load_ns=self.load_ns,
            num_restarts=self.num_restarts,
            num_crashes=self.num_crashes,
            num_hung=self.num_hung,
            num_crashed_requests=self.num_crashed_requests,
            num_evictions=self.num_evictions,
        )

    def total(self, current: EngineStats) -> EngineStats:
        """How it is now, and the counters of all runners together."""
        past = _counters(self.past)
        counters = {name: value + past[name] for name, value in _counters(current).items()}
        return msgspec.structs.replace(current, **counters)


def _counters(stats: EngineStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in EngineCounts.__struct_fields__}
