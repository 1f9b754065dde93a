"""When requests are sent: loads, and the moments of an open loop. Pure: no clock, no I/O.

A closed loop keeps so many requests open and sends the next when one ends, so a slow
server is asked less. An open loop sends at moments of its own, whatever the server does,
as independent users do.
"""

import math
import random
from collections.abc import Iterator
from typing import Literal

import msgspec

Arrival = Literal["closed", "constant", "poisson", "gamma"]
Curve = Literal["linear", "exponential"]


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one level is loaded.

    Closed: `concurrency` open requests. Open: `rate` requests/s on average, at even
    distances (`constant`), independent (`poisson`), or with gaps of a gamma distribution
    whose shape is `burstiness`: 1 is Poisson, less comes in bursts, more is more even (the
    same word and meaning as in vLLM). With `rate_from` the rate goes from there to `rate`
    over `ramp_s`.
    """

    arrival: Arrival = "closed"
    concurrency: int | None = None
    rate: float | None = None
    burstiness: float = 1.0
    rate_from: float | None = None
    ramp_s: float | None = None
    curve: Curve = "linear"

    @property
    def is_open(self) -> bool:
        """Whether it is an open loop."""
        return self.arrival != "closed"

    @property
    def at(self) -> float:
        """Its place on an axis: requests/s of an open loop, else open requests."""
        return (self.rate or 0.0) if self.is_open else float(self.concurrency or 0)

    def __str__(self) -> str:
        if not self.is_open:
            return f"{self.concurrency} open"
        burst = f" {self.burstiness:g}" if self.arrival == "gamma" else ""
        ramp = f"{self.rate_from:.3g} to " if self.rate_from is not None else ""
        return f"{ramp}{self.rate:.3g}/s {self.arrival}{burst}"


def moments(load: Load, source: random.Random) -> Iterator[float]:
    """The moments to send at, in seconds since the level began, without an end."""
    due = 0.0
    while True:
        yield _moment(load, due)
        due += _gap(load, source)


def rate_at(load: Load, moment_s: float) -> float:
    """Requests/s that an open loop wants at a moment."""
    rate = load.rate or 0.0
    if load.rate_from is None or not load.ramp_s or moment_s >= load.ramp_s:
        return rate
    done = moment_s / load.ramp_s
    if load.curve == "linear":
        return load.rate_from + (rate - load.rate_from) * done
    return load.rate_from * math.exp(math.log(rate / load.rate_from) * done)


def _gap(load: Load, source: random.Random) -> float:
    """The next gap of a stream of one request per second."""
    match load.arrival:
        case "poisson":
            return source.expovariate(1.0)
        case "gamma":
            return source.gammavariate(load.burstiness, 1.0 / load.burstiness)
    return 1.0


def _moment(load: Load, due: float) -> float:
    """When `due` requests have been sent: the inverse of the rate, summed up."""
    rate = load.rate or 1.0
    start, over = load.rate_from, load.ramp_s
    if start is None or not over:
        return due / rate
    if start == rate:
        return due / rate
    slope = (rate - start) / over
    growth = math.log(rate / start) / over
    linear = load.curve == "linear"
    whole = (start + rate) * over / 2 if linear else (rate - start) / growth
    if due >= whole:
        return over + (due - whole) / rate
    if linear:
        return (math.sqrt(start * start + 2 * slope * due) - start) / slope
    return math.log1p(due * growth / start) / growth
