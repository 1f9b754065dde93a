"""What a run tells while it goes on: one small value, ten times a second at most."""

from typing import Literal

import msgspec

from toolkit.bench.distribution import percentile
from toolkit.bench.level import LiveLevel
from toolkit.bench.metrics import ttft_ms
from toolkit.bench.records import Outcome, Phase

TOLD_EVERY_S = 0.1
Stage = Literal["starting", "warming up", "measuring", "ending", "done"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is. Counts and figures are those of the level that is running.

    `level` is its number from 1 of `levels`, which is None when they are found on the way;
    `asked` is None when time ends it. `requests_per_s` and `tokens_per_s` are over
    the time since the level began, `ttft_…_ms` of the full answers so far.
    """

    stage: Stage
    level: int = 0
    levels: int | None = None
    load: str = ""
    elapsed_s: float = 0.0
    duration_s: float | None = None
    asked: int | None = None
    sent: int = 0
    in_flight: int = 0
    ok: int = 0
    short: int = 0
    errors: int = 0
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None

    def __str__(self) -> str:
        if not self.level:
            return self.stage
        of = f" of {self.levels}" if self.levels else ""
        asked = f"/{self.asked}" if self.asked else ""
        parts = [
            f"level {self.level}{of} ({self.load})",
            f"{self.ok + self.short + self.errors}{asked} requests",
            f"{self.in_flight} in flight",
            f"{self.errors} errors",
        ]
        if self.tokens_per_s is not None:
            parts.append(f"{self.tokens_per_s:.1f} tok/s")
        if self.ttft_p50_ms is not None and self.ttft_p99_ms is not None:
            parts.append(
                f"first token p50 {self.ttft_p50_ms:.0f} ms, p99 {self.ttft_p99_ms:.0f} ms"
            )
        return " · ".join(parts)


def progress_of(live: LiveLevel, *, level: int, levels: int | None) -> Progress:
    """The progress of a level that runs."""
    ends = [record.outcome for record in live.records]
    first = sorted(ms for r in live.records if r.outcome is Outcome.OK for ms in ttft_ms(r))
    elapsed = live.elapsed_s
    config = live.config
    return Progress(
        stage=_stage(live, elapsed),
        level=level,
        levels=levels,
        load=str(live.load),
        elapsed_s=elapsed,
        duration_s=config.duration_s,
        asked=live.asked,
        sent=len(live.sent),
        in_flight=live.in_flight,
        ok=ends.count(Outcome.OK),
        short=ends.count(Outcome.SHORT),
        errors=ends.count(Outcome.ERROR),
        requests_per_s=ends.count(Outcome.OK) / elapsed if elapsed > 0 else None,
        tokens_per_s=_tokens(live) / elapsed if elapsed > 0 else None,
        ttft_p50_ms=percentile(first, 50) if first else None,
        ttft_p99_ms=percentile(first, 99) if first else None,
    )


def _stage(live: LiveLevel, elapsed: float) -> Stage:
    if live.phase(elapsed) is Phase.WARMUP:
        return "warming up"
    duration = live.config.duration_s
    is_sent = live.asked is not None and len(live.sent) >= live.asked
    return "ending" if is_sent or (duration is not None and elapsed > duration) else "measuring"


def _tokens(live: LiveLevel) -> float:
    """The chunks so far, as tokens by what a chunk has carried where that is known."""
    chunks = sum(len(r.text_s) for r in live.records if r.outcome is Outcome.OK)
    tokens = sum(r.output_tokens or 0 for r in live.records if r.outcome is Outcome.OK)
    return live.chunks * (tokens / chunks if chunks else 1.0)
