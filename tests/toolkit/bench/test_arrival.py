"""When an open loop sends: by mean, by spread, by ramp, by seed."""

import random
import statistics
from itertools import islice, pairwise, takewhile

import pytest

from toolkit.bench.arrival import Arrival, Curve, Load, moments, rate_at


def gaps(load: Load, count: int = 5000, seed: int = 1) -> list[float]:
    sent = list(islice(moments(load, random.Random(seed)), count + 1))
    return [later - earlier for earlier, later in pairwise(sent)]


@pytest.mark.parametrize(
    ("arrival", "burstiness", "variation"),
    [("constant", 1.0, 0.0), ("poisson", 1.0, 1.0), ("gamma", 4.0, 0.5), ("gamma", 0.25, 2.0)],
)
def test_gaps_have_the_mean_of_the_rate_and_the_spread_of_their_kind(
    arrival: Arrival, burstiness: float, variation: float
) -> None:
    found = gaps(Load(arrival=arrival, rate=4.0, burstiness=burstiness))
    assert statistics.fmean(found) == pytest.approx(0.25, rel=0.08)
    assert statistics.stdev(found) / 0.25 == pytest.approx(variation, abs=0.15)


def test_a_seed_repeats_them() -> None:
    load = Load(arrival="poisson", rate=3.0)
    assert gaps(load, 20) == gaps(load, 20) != gaps(load, 20, seed=2)


@pytest.mark.parametrize("curve", ["linear", "exponential"])
@pytest.mark.parametrize(("start", "end"), [(1.0, 9.0), (9.0, 1.0), (4.0, 4.0)])
def test_a_ramp_sends_as_its_rate_says_at_each_moment(
    curve: Curve, start: float, end: float
) -> None:
    load = Load(arrival="constant", rate=end, rate_from=start, ramp_s=100.0, curve=curve)
    sent = list(takewhile(lambda at: at < 150, moments(load, random.Random(1))))
    assert sent == sorted(sent)
    for begin in range(0, 150, 10):
        inside = sum(begin <= at < begin + 10 for at in sent)
        steps = [rate_at(load, begin + i / 10) for i in range(100)]
        assert inside == pytest.approx(sum(steps) / 10, abs=1.5)
    assert rate_at(load, 0) == pytest.approx(start) and rate_at(load, 120) == pytest.approx(end)


def test_loads_say_what_they_are() -> None:
    assert str(Load(concurrency=4)) == "4 open"
    assert str(Load(arrival="poisson", rate=0.5)) == "0.5/s poisson"
    assert str(Load(arrival="gamma", rate=2, burstiness=0.5)) == "2/s gamma 0.5"
    ramp = Load(arrival="constant", rate=8, rate_from=1, ramp_s=5)
    assert str(ramp) == "1 to 8/s constant"
    assert (ramp.at, Load(concurrency=4).at) == (8, 4)
