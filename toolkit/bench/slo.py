"""Objectives: what a service promises, read from text and held against a level.

`ttft_ms:p99<=500` says that 99 % of requests have their first token within 500 ms. For
goodput the same bound holds for each request: it is good if it meets all of them.
"""

import math
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from toolkit.bench.distribution import percentile
from toolkit.bench.metrics import BY_TAG
from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.throughput import window
from toolkit.errors import UsageError

FORMULAS = (
    ("goodput", "full answers in the window that meet every bound / window [1/s]"),
    ("good share", "good requests / all measured but unfinished ones, errors included"),
    ("good per USD", "goodput × 3600 / USD per hour"),
)
# Of a level as a whole; no request has them.
RATES = ("output_tokens_per_s", "requests_per_s", "error_rate", "usd_per_million_tokens")
# Names that others use; only for what they mean by them.
_ALIASES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_gap_ms", "e2el": "e2e_ms"}
_ALIASES |= {"e2e": "e2e_ms", "ttfo": "ttfo_ms"}
_FORM = re.compile(
    r"\s*(?P<metric>\w+)\s*(?::\s*(?P<stat>p[\d.]+|mean))?\s*(?P<sign><=|>=)"
    r"\s*(?P<limit>[\d.]+)\s*(?P<unit>ms|s|%)?\s*"
)
# Without an objective of their own, so many errors are too many for any level to be good.
MOST_ERRORS = 0.01
Signs = Literal["<=", ">="]


class SLO(msgspec.Struct, frozen=True):
    """One objective. `stat` is `p99`, `p50`, … or `mean`; empty for figures of a level."""

    metric: str
    stat: str
    sign: Signs
    limit: float

    def __str__(self) -> str:
        stat = f":{self.stat}" if self.stat else ""
        return f"{self.metric}{stat}{self.sign}{self.limit:g}"

    def is_met_by(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value <= self.limit if self.sign == "<=" else value >= self.limit


class Verdict(msgspec.Struct, frozen=True):
    """What an objective got of a level. `value` None: nothing was measured, so not met."""

    slo: str
    value: float | None
    is_met: bool


def parse(text: str) -> SLO:
    """An objective as written. Raises `UsageError` with what could be meant."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise _bad(text, "is not an objective")
    name = _ALIASES.get(found["metric"], found["metric"])
    limit = _limit(text, found["limit"], found["unit"], name)
    sign: Signs = "<=" if found["sign"] == "<=" else ">="
    if name in RATES:
        if found["stat"]:
            raise _bad(text, f"is about {name}, which has no percentiles")
        return SLO(name, "", sign, limit)
    if name not in BY_TAG:
        raise _bad(text, f"names no metric ({', '.join((*BY_TAG, *RATES))})")
    stat = found["stat"] or "p99"
    if stat != "mean" and not 0 < _number(stat[1:]) < 100:
        raise _bad(text, "has a percentile that is none")
    return SLO(name, stat, sign, limit)


def verdict(slo: SLO, level: Level, rates: dict[str, float | None]) -> Verdict:
    """Hold an objective against a level; `rates` are its figures by name."""
    if not slo.stat:
        value = rates.get(slo.metric)
    else:
        values = sorted(BY_TAG[slo.metric].values(level))
        value = _stat(values, slo.stat) if values else None
    return Verdict(str(slo), value, value is not None and slo.is_met_by(value))


def is_good(record: RequestRecord, slos: Sequence[SLO]) -> bool:
    """Whether one request was answered in full and meets each bound on requests."""
    if record.outcome is not Outcome.OK:
        return False
    for slo in slos:
        if not slo.stat:
            continue
        values = BY_TAG[slo.metric].one(record)
        # Of several values, such as gaps, each has to be good; without any it has not failed.
        if not all(slo.is_met_by(value) for value in values):
            return False
    return True


def goodput_per_s(level: Level, slos: Sequence[SLO]) -> float | None:
    """Good requests that ended in the window over it, in 1/s."""
    start, end = window(level)
    if end <= start:
        return None
    return sum(start <= r.end_s <= end and is_good(r, slos) for r in level.records) / (end - start)


def good_share(level: Level, slos: Sequence[SLO]) -> float | None:
    """Good requests of all measured ones that ended or are overdue, of 1."""
    asked = [*level.having(Outcome.OK, Outcome.SHORT, Outcome.ERROR), *level.overdue]
    return sum(is_good(r, slos) for r in asked) / len(asked) if asked else None


def _stat(ordered: Sequence[float], stat: str) -> float:
    if stat == "mean":
        return sum(ordered) / len(ordered)
    return percentile(ordered, float(stat[1:]))


def _limit(text: str, number: str, unit: str | None, metric: str) -> float:
    limit = _number(number)
    if math.isnan(limit):
        raise _bad(text, "has a limit that is no number")
    if unit in ("ms", "s"):
        if not metric.endswith("_ms"):
            raise _bad(text, f"gives a time, and {metric} is none")
        return limit * 1e3 if unit == "s" else limit
    if unit == "%":
        if metric != "error_rate":
            raise _bad(text, f"gives a share, and {metric} is none")
        return limit / 100
    return limit


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text!r} {why}.",
        hint="Write such as ttft_ms:p99<=500, tpot:p95<=50ms, error_rate<=1% or"
        " output_tokens_per_s>=100.",
    )
