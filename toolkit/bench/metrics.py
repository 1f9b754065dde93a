"""The formulas: one function per metric, each saying its unit and where it comes from.

The same word means different things in different benchmarks, so every report prints
these formulas. n: output tokens, t0: request sent, t1: first chunk with text, tN: last
chunk with text, E: end of the answer. Only complete answers of the full length are
measured for latency; errors and short answers are counted apart.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence

import msgspec

from toolkit.bench.records import Level, Outcome, RequestRecord

PERCENTILES = (1.0, 5.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.95
RESAMPLES = 400


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one metric; `ci` are 95 % intervals of p50 and p99."""

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


class Metric(msgspec.Struct, frozen=True):
    """A metric as reports name it; `values` gives its samples of one level."""

    tag: str
    label: str
    unit: str
    formula: str
    values: Callable[[Level], list[float]]


def ttft_ms(record: RequestRecord) -> list[float]:
    """t1 - t0 in ms: to the first chunk *with text*; an empty first chunk does not count
    (vLLM and aiperf count it, guidellm does not)."""
    return [1e3 * (record.text_s[0] - record.sent_s)] if record.text_s else []


def first_byte_ms(record: RequestRecord) -> list[float]:
    """Head of the answer - t0 in ms: what the network and the queue cost."""
    return [1e3 * (record.first_byte_s - record.sent_s)] if record.first_byte_s else []


def tpot_ms(record: RequestRecord) -> list[float]:
    """(tN - t1) / (n - 1) in ms: guidellm's ITL, near to vLLM's TPOT and aiperf's ITL;
    guidellm's TPOT divides (tN - t0) by n."""
    n = record.output_tokens or 0
    if n < 2 or len(record.text_s) < 2:
        return []
    return [1e3 * (record.text_s[-1] - record.text_s[0]) / (n - 1)]


def itl_gap_ms(record: RequestRecord) -> list[float]:
    """Every gap between chunks with text in ms, pooled over requests: vLLM's ITL."""
    pairs = zip(record.text_s, record.text_s[1:], strict=False)
    return [1e3 * (later - earlier) for earlier, later in pairs]


def e2e_ms(record: RequestRecord) -> list[float]:
    """E - t0 in ms: the whole request."""
    return [1e3 * (record.end_s - record.sent_s)]


def user_tokens_per_s(record: RequestRecord) -> list[float]:
    """1 / TPOT in tokens/s: how fast text comes to one reader (aiperf's per-user rate)."""
    return [1e3 / value for value in tpot_ms(record) if value > 0]


def window_s(level: Level) -> float:
    """Last E - first t0 of all requests of a level in s, failed ones too."""
    if not level.records:
        return 0.0
    return max(r.end_s for r in level.records) - min(r.sent_s for r in level.records)


def output_tokens_per_s(level: Level) -> float | None:
    """Sum of n over the measured window in tokens/s, answers only (guidellm and vLLM alike)."""
    answered = level.having(Outcome.OK, Outcome.SHORT)
    duration = window_s(level)
    return sum(r.output_tokens or 0 for r in answered) / duration if duration else None


def requests_per_s(level: Level) -> float | None:
    """Complete answers of full length over the measured window in 1/s."""
    duration = window_s(level)
    return len(level.having(Outcome.OK)) / duration if duration else None


def peak_in_flight(level: Level) -> int:
    """The most requests that were open at one moment, by a sweep over sends and ends."""
    moments = [(r.sent_s, 1) for r in level.records] + [(r.end_s, -1) for r in level.records]
    open_now = peak = 0
    for _, step in sorted(moments):
        open_now += step
        peak = max(peak, open_now)
    return peak


def tokens_per_chunk(level: Level) -> float | None:
    """Sum of n over sum of chunks with text; above 1 the gaps are those of bundles."""
    measured = level.having(Outcome.OK)
    chunks = sum(len(r.text_s) for r in measured)
    return sum(r.output_tokens or 0 for r in measured) / chunks if chunks else None


def usd_per_million_tokens(level: Level, usd_per_hour: float) -> float | None:
    """Price of an hour over the output tokens of an hour, times a million, in USD."""
    rate = output_tokens_per_s(level)
    return usd_per_hour / (rate * 3600) * 1e6 if rate else None


def _of_requests(one: Callable[[RequestRecord], list[float]]) -> Callable[[Level], list[float]]:
    return lambda level: [value for r in level.having(Outcome.OK) for value in one(r)]


METRICS = (
    Metric("ttft_ms", "first token", "ms", "t1 - t0", _of_requests(ttft_ms)),
    Metric("first_byte_ms", "first byte", "ms", "head of the answer - t0",
           _of_requests(first_byte_ms)),
    Metric("tpot_ms", "time per token", "ms", "(tN - t1) / (n - 1)", _of_requests(tpot_ms)),
    Metric("itl_gap_ms", "gap between chunks", "ms", "all gaps, pooled", _of_requests(itl_gap_ms)),
    Metric("e2e_ms", "whole request", "ms", "E - t0", _of_requests(e2e_ms)),
    Metric("user_tokens_per_s", "tok/s per user", "tok/s", "1 / TPOT",
           _of_requests(user_tokens_per_s)),
)  # fmt: skip


def spread(values: Sequence[float], *, seed: int = 0) -> Spread | None:
    """The distribution of samples; None without any."""
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
        ci={f"{p:g}": interval(ordered, p, seed=seed) for p in (50.0, 99.0)},
    )


def percentile(ordered: Sequence[float], p: float) -> float:
    """The p-th percentile of sorted samples, linear between neighbours (numpy's default)."""
    position = (len(ordered) - 1) * p / 100
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interval(ordered: Sequence[float], p: float, *, seed: int) -> tuple[float, float]:
    """A bootstrap interval of the p-th percentile; samples are thinned out beyond 2,000."""
    thinned = ordered[:: max(1, len(ordered) // 2000)]
    source = random.Random(seed)  # noqa: S311 - resampling, not a secret
    found = sorted(
        percentile(sorted(source.choices(thinned, k=len(thinned))), p) for _ in range(RESAMPLES)
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    return percentile(found, tail), percentile(found, 100 - tail)
