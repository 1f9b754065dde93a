"""What to run: the loads, when each ends, what is asked, and what is good enough."""

from typing import Literal, Self

import msgspec

from toolkit.bench.arrival import Arrival, Curve, Load
from toolkit.bench.slo import SLO
from toolkit.bench.wire import APIS
from toolkit.bench.workload import Workload
from toolkit.errors import UsageError

MOST_OPEN = 4096
RAMP_SLICES = 6


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Find the limit: double the load until it saturates or misses an objective, then halve
    the step between the last good and the first bad load `refine` times.

    Over `concurrency` it is a closed loop; over `rate` an open one, which begins with what
    one request at a time reaches. `most` bounds the load.
    """

    over: Literal["concurrency", "rate"] = "concurrency"
    most: float = 256
    refine: int = 2


class BenchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark.

    Its levels, one after the other: a closed loop at each `concurrency`, or with `rates` an
    open one at each requests/s, where `arrival` and `burstiness` say how they come; the rate
    rises to that from `ramp_from` over `duration_s` if given, and is reported in slices.
    With `sweep` the levels are found.

    A level ends after `requests` requests or `duration_s` seconds of sending, whichever is
    first; what is then open has `grace_s` to end. Without a duration `requests` is at least
    the concurrency. More than `max_errors` errors in all end the run; so does a level that is
    saturated, with `until_saturated`.

    `warmup` requests come before all; those sent in the first `warmup_s` or the last
    `cooldown_s` seconds of a level are kept and not counted (a cool-down needs a duration).
    `keep_text` keeps prompts and replies, which are private, in the records.
    """

    concurrency: tuple[int, ...] = (1, 2, 4)
    rates: tuple[float, ...] = ()
    arrival: Arrival = "poisson"
    burstiness: float = 1.0
    ramp_from: float | None = None
    curve: Curve = "linear"
    sweep: Sweep | None = None
    requests: int | None = 8
    duration_s: float | None = None
    grace_s: float = 60.0
    max_errors: int | None = None
    until_saturated: bool = False
    warmup: int = 1
    warmup_s: float = 0.0
    cooldown_s: float = 0.0
    workload: Workload = Workload()
    slos: tuple[SLO, ...] = ()
    usd_per_hour: float | None = None
    api: str = "auto"
    keep_text: bool = False

    def loads(self) -> tuple[Load, ...]:
        """The levels, unless they are to be found."""
        if not self.rates:
            return tuple(Load(concurrency=count) for count in self.concurrency)
        ramp_s = self.duration_s if self.ramp_from is not None else None
        return tuple(
            Load(
                arrival=self.arrival,
                rate=rate,
                burstiness=self.burstiness,
                rate_from=self.ramp_from,
                ramp_s=ramp_s,
                curve=self.curve,
            )
            for rate in self.rates
        )

    def checked(self) -> Self:
        """Itself. Raises `UsageError` for values that cannot be meant."""
        self._check_loads()
        self._check_ends()
        self.workload.checked()
        if self.usd_per_hour is not None and not self.usd_per_hour >= 0:
            raise UsageError("A price below zero cannot be meant.", hint="Give USD per hour.")
        if self.api not in ("auto", *APIS):
            raise UsageError(f"{self.api!r} is no API.", hint=f"Give auto, {', '.join(APIS)}.")
        return self

    def _check_loads(self) -> None:
        hint = "Give counts of at least one, such as 1,2,4."
        if not self.rates and (
            not self.concurrency or min(self.concurrency) < 1 or max(self.concurrency) > MOST_OPEN
        ):
            raise UsageError(f"Each concurrency must be between 1 and {MOST_OPEN}.", hint=hint)
        if len(set(self.rates or self.concurrency)) < len(self.rates or self.concurrency):
            raise UsageError("A load is there twice.", hint="Give each once; raise the requests.")
        if self.rates and self.arrival == "closed":
            raise UsageError(
                "A closed loop has no rate.", hint="Let them come constant, poisson or gamma."
            )
        if not all(0 < rate <= 1e5 for rate in self.rates) or not 0 < self.burstiness <= 1e3:
            raise UsageError(
                "Rates and burstiness must be above zero.", hint="Give requests/s, such as 0.5,1,2."
            )
        if self.ramp_from is not None and not (
            self.rates and 0 < self.ramp_from <= 1e5 and self.duration_s
        ):
            raise UsageError(
                "A ramp goes from one rate above zero to another within a duration.",
                hint="Give such as --ramp 0.5:8 --duration 60.",
            )
        if self.sweep is not None and (self.sweep.most < 1 or self.sweep.refine < 0):
            raise UsageError("A sweep goes up to a load of one at least.", hint=hint)

    def _check_ends(self) -> None:
        if self.requests is None and self.duration_s is None:
            raise UsageError("A level needs an end.", hint="Give requests or a duration.")
        if (self.requests is not None and self.requests < 1) or self.warmup < 0:
            raise UsageError(
                "At least one request is needed at each level.", hint="Raise the requests."
            )
        seconds = (self.warmup_s, self.cooldown_s, self.grace_s)
        if min(seconds) < 0 or (self.duration_s is not None and not self.duration_s > 0):
            raise UsageError("A duration must be above zero.", hint="Give seconds.")
        if self.cooldown_s and self.duration_s is None:
            raise UsageError("A cool-down is the end of a duration.", hint="Give a duration, too.")
        if self.duration_s is not None and self.warmup_s + self.cooldown_s >= self.duration_s:
            raise UsageError(
                "Warm-up and cool-down leave nothing to measure.", hint="Make it last longer."
            )
        if self.max_errors is not None and self.max_errors < 0:
            raise UsageError("Fewer than no errors cannot be meant.", hint="Give 0 or more.")
