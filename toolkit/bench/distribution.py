"""Samples as a distribution: percentiles with how sure they are."""

import math
import random
import statistics
from collections.abc import Sequence

import msgspec

PERCENTILES = (1.0, 5.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.95
RESAMPLES = 1000


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one metric; `ci` are 95 % intervals of p50 and p99, none while a
    level runs."""

    n: int
    mean: float
    std: float
    minimum: float
    maximum: float
    percentiles: dict[str, float]
    ci: dict[str, tuple[float, float]]

    @property
    def p50(self) -> float:
        """The median."""
        return self.percentiles["50"]

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return self.percentiles["99"]


def spread(values: Sequence[float], *, seed: int = 0, with_intervals: bool = True) -> Spread | None:
    """The distribution of samples; None without any. Intervals take most of its time."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(
        n=len(ordered),
        mean=statistics.fmean(ordered),
        std=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        minimum=ordered[0],
        maximum=ordered[-1],
        percentiles={f"{p:g}": percentile(ordered, p) for p in PERCENTILES},
        ci={f"{p:g}": interval(ordered, p, seed=seed) for p in (50.0, 99.0) if with_intervals},
    )


def percentile(ordered: Sequence[float], p: float) -> float:
    """The p-th percentile of sorted samples, linear between neighbours (numpy's default)."""
    position = (len(ordered) - 1) * p / 100
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interval(ordered: Sequence[float], p: float, *, seed: int) -> tuple[float, float]:
    """A 95 % bootstrap interval of the p-th percentile of sorted samples.

    A resample is not drawn whole: its k-th smallest of n is the sample at the place n·u,
    where u is Beta(k, n - k + 1), the law of the k-th smallest of n even numbers.
    """
    count = len(ordered)
    rank = 1 + round((count - 1) * p / 100)
    source = random.Random(seed)  # noqa: S311 - resampling, not a secret
    found = sorted(
        ordered[min(count - 1, int(count * source.betavariate(rank, count - rank + 1)))]
        for _ in range(RESAMPLES)
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    return percentile(found, tail), percentile(found, 100 - tail)
