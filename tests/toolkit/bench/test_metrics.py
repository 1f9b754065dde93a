"""The formulas, on records whose answers are known."""

import random

import pytest

from toolkit.bench.metrics import (
    METRICS,
    e2e_ms,
    interval,
    itl_gap_ms,
    output_tokens_per_s,
    peak_in_flight,
    percentile,
    requests_per_s,
    spread,
    tokens_per_chunk,
    tpot_ms,
    ttft_ms,
    usd_per_million_tokens,
    user_tokens_per_s,
    window_s,
)
from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.result import summarize


def record(index: int = 0, **given: object) -> RequestRecord:
    values: dict[str, object] = {
        "outcome": Outcome.OK,
        "sent_s": 1.0,
        "first_byte_s": 1.1,
        "text_s": (1.2, 1.3, 1.5),
        "end_s": 1.6,
        "output_tokens": 3,
    }
    return RequestRecord(index=index, **(values | given))  # type: ignore[arg-type]


def level(*records: RequestRecord) -> Level:
    return Level(concurrency=2, asked=len(records), records=records)


def test_latencies_of_one_request() -> None:
    one = record()
    assert ttft_ms(one) == pytest.approx([200])
    assert tpot_ms(one) == pytest.approx([150])
    assert itl_gap_ms(one) == pytest.approx([100, 200])
    assert e2e_ms(one) == pytest.approx([600])
    assert user_tokens_per_s(one) == pytest.approx([1000 / 150])


def test_bundled_tokens_change_the_gaps_and_not_the_time_per_token() -> None:
    bundled = record(output_tokens=5)
    assert tpot_ms(bundled) == pytest.approx([75])
    assert tokens_per_chunk(level(bundled)) == pytest.approx(5 / 3)


def test_one_token_has_no_time_between_tokens() -> None:
    assert tpot_ms(record(output_tokens=1, text_s=(1.2,))) == []


def test_rates_are_over_the_window_and_failures_are_in_it() -> None:
    failed = record(1, outcome=Outcome.ERROR, sent_s=0.0, end_s=4.0, output_tokens=None, text_s=())
    short = record(2, outcome=Outcome.SHORT, output_tokens=1)
    both = level(record(), failed, short)
    assert window_s(both) == 4.0
    assert output_tokens_per_s(both) == pytest.approx(1.0)
    assert requests_per_s(both) == pytest.approx(0.25)


def test_only_full_answers_are_in_the_latencies() -> None:
    failed = record(1, outcome=Outcome.ERROR, text_s=(9.0,), end_s=9.0)
    short = record(2, outcome=Outcome.SHORT, text_s=(8.0,), end_s=8.0)
    summary = summarize(level(record(), failed, short))
    assert (summary.ok, summary.short, summary.errors) == (1, 1, 1)
    assert summary.spreads["ttft_ms"].n == 1 and summary.spreads["e2e_ms"].maximum < 700


def test_the_peak_is_counted_exactly() -> None:
    spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 2.6)]
    records = [record(i, sent_s=a, end_s=b) for i, (a, b) in enumerate(spans)]
    assert peak_in_flight(level(*records)) == 3


def test_the_price_of_a_million_tokens() -> None:
    hour = record(output_tokens=3_600, sent_s=0.0, end_s=3600.0)
    assert usd_per_million_tokens(level(hour), 0.36) == pytest.approx(100.0)


def test_nothing_measured_has_no_figures() -> None:
    nothing = summarize(level())
    assert nothing.output_tokens_per_s is None and nothing.spreads == {}
    assert spread([]) is None


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == pytest.approx(3.97)
    assert percentile([7.0], 99.9) == 7.0


def test_the_interval_holds_the_percentile_and_narrows_with_samples() -> None:
    source = random.Random(3)
    many = sorted(source.gauss(100, 10) for _ in range(1000))
    few = many[::50]
    low, high = interval(many, 50.0, seed=1)
    wide_low, wide_high = interval(few, 50.0, seed=1)
    assert low < 100 < high and high - low < wide_high - wide_low


def test_every_metric_says_its_unit_and_formula() -> None:
    assert len({metric.tag for metric in METRICS}) == len(METRICS)
    assert all(metric.unit and metric.formula and metric.label for metric in METRICS)
