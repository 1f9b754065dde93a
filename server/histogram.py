"""A histogram that costs a fraction of a microsecond per value, for what happens per token."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts of values by upper bound, which belongs to its bucket, as Prometheus has it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` grow; a last bucket takes all that is above them."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    @property
    def total(self) -> float:
        """The sum of all values."""
        return self._sum

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, the last one `+Inf`."""
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        seen, cumulated = 0, []
        for name, count in zip(names, self._counts, strict=True):
            seen += count
            cumulated.append((name, float(seen)))
        return cumulated
