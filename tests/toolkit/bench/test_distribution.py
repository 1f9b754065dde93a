"""Percentiles, and how sure they are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bench.distribution import PERCENTILES, interval, percentile, spread


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == pytest.approx(3.97)
    assert percentile([7.0], 99.9) == 7.0


def test_a_spread_has_all_percentiles_and_its_count() -> None:
    found = spread([float(n) for n in range(1001)])
    assert found is not None and found.n == 1001
    expected = {f"{p:g}": pytest.approx(10 * p) for p in PERCENTILES}
    assert found.percentiles == expected
    assert spread([]) is None


def test_the_interval_is_that_of_whole_resamples() -> None:
    """Drawing the place of the percentile is the same as drawing all samples anew."""
    source = random.Random(5)
    samples = sorted(source.gauss(100, 10) for _ in range(200))
    drawn = sorted(
        percentile(sorted(source.choices(samples, k=len(samples))), 50) for _ in range(3000)
    )
    low, high = interval(samples, 50.0, seed=1)
    assert low == pytest.approx(drawn[75], abs=0.6) and high == pytest.approx(drawn[2925], abs=0.6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    source = random.Random(3)
    hits = 0
    for number in range(200):
        low, high = interval(sorted(source.random() for _ in range(101)), 50.0, seed=number)
        hits += low <= 0.5 <= high
    assert 180 <= hits <= 199


def test_more_samples_make_it_narrower() -> None:
    source = random.Random(3)
    many = sorted(source.gauss(100, 10) for _ in range(1000))
    low, high = interval(many, 50.0, seed=1)
    wide_low, wide_high = interval(many[::50], 50.0, seed=1)
    assert high - low < wide_high - wide_low


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.sampled_from(PERCENTILES))
def test_an_interval_lies_within_the_samples(values: list[float], p: float) -> None:
    ordered = sorted(values)
    low, high = interval(ordered, p, seed=0)
    assert ordered[0] <= low <= high <= ordered[-1]
