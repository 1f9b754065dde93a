"""Which load comes next: the levels that were asked for, or the search for the limit. Pure."""

import math
from collections.abc import Sequence

from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.summary import Summary

# An open loop that begins below what one request at a time reaches is not yet loaded.
FIRST_SHARE = 0.5
# Two loads so near to each other say the same.
NEAR = 1.1


def next_load(config: BenchConfig, done: Sequence[Summary]) -> Load | None:
    """The load of the next level after those that are `done`; None at the end."""
    if config.sweep is None:
        loads = config.loads()
        is_over = config.until_saturated and bool(done) and done[-1].is_saturated
        return loads[len(done)] if len(done) < len(loads) and not is_over else None
    if config.sweep.over == "concurrency":
        return _closed(config, config.sweep, done)
    return _open(config, config.sweep, done)


def limit_of(config: BenchConfig, done: Sequence[Summary]) -> tuple[float, float | None]:
    """The highest load below all bad ones that was good, 0 without one, and the lowest bad."""
    levels = _levels(config, done)
    bad = min((one.load.at for one in levels if not _is_good(one)), default=None)
    good = [one.load.at for one in levels if _is_good(one) and (bad is None or one.load.at < bad)]
    return max(good, default=0.0), bad


def _levels(config: BenchConfig, done: Sequence[Summary]) -> list[Summary]:
    """Without the requests one at a time that a sweep over rates begins with."""
    over_rate = config.sweep is not None and config.sweep.over == "rate"
    return [one for one in done if one.load.is_open or not over_rate]


def _is_good(one: Summary) -> bool:
    return one.is_good and not one.is_saturated


def _closed(config: BenchConfig, sweep: Sweep, done: Sequence[Summary]) -> Load | None:
    good, bad = limit_of(config, done)
    if bad is None:
        if good >= sweep.most:
            return None
        return Load(concurrency=int(min(2 * good, sweep.most)) or 1)
    middle = int((good + bad) // 2)
    return (
        Load(concurrency=middle)
        if _goes_on(sweep, _levels(config, done), good, bad, middle)
        else None
    )


def _open(config: BenchConfig, sweep: Sweep, done: Sequence[Summary]) -> Load | None:
    """First one request at a time, to know where to begin."""
    if not done:
        return Load(concurrency=1)
    alone = done[0].requests_per_s
    if not alone:
        return None
    good, bad = limit_of(config, done)
    if bad is None:
        if good >= sweep.most:
            return None
        return _at(config, min(2 * good or FIRST_SHARE * alone, sweep.most))
    if not good and bad < FIRST_SHARE * alone / 8:
        return None
    middle = math.sqrt(good * bad) if good else bad / 2
    return (
        _at(config, middle) if _goes_on(sweep, _levels(config, done), good, bad, middle) else None
    )


def _goes_on(
    sweep: Sweep, levels: Sequence[Summary], good: float, bad: float, middle: float
) -> bool:
    """Whether a level between the last good and the first bad load would say more."""
    if not good:  # there may be a good one below
        return middle > 0 and bad > middle
    turned = next((i for i, one in enumerate(levels) if not _is_good(one)), len(levels))
    refined = len(levels) - 1 - turned
    return good < middle < bad and refined < sweep.refine and bad > NEAR * good


def _at(config: BenchConfig, rate: float) -> Load:
    return Load(arrival=config.arrival, rate=float(f"{rate:.3g}"), burstiness=config.burstiness)
