"""The formulas, on records whose answers are known."""

import pytest

from tests.support.benching import level, record
from toolkit.bench import metrics, throughput
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.metrics import ALL, METRICS
from toolkit.bench.numbers import number
from toolkit.bench.records import Outcome, Phase
from toolkit.bench.slo import parse
from toolkit.bench.summary import marked, summarize
from toolkit.bench.throughput import (
    error_rate,
    offered_per_s,
    output_tokens_per_s,
    peak_in_flight,
    peak_tokens_per_s,
    requests_per_s,
    tokens_per_chunk,
    total_tokens_per_s,
    usd_per_million,
    window_s,
)


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("ttft_ms", [200]),
        ("ttfo_ms", [200]),
        ("first_byte_ms", [100]),
        ("first_chunk_ms", [150]),
        ("second_token_ms", [100]),
        ("tpot_ms", [150]),
        ("guidellm_tpot_ms", [500 / 3]),
        ("vllm_tpot_ms", [200]),
        ("aiperf_itl_ms", [225]),
        ("itl_gap_ms", [100, 200]),
        ("vllm_itl_ms", [50, 100, 200, 50]),
        ("e2e_ms", [600]),
        ("vllm_e2el_ms", [550]),
        ("user_tokens_per_s", [1000 / 150]),
        ("aiperf_user_tokens_per_s", [1000 / 225]),
        ("guidellm_user_tokens_per_s", [3 / 0.6]),
        ("send_delay_ms", [20]),
        ("prompt_tokens", [10]),
        ("output_tokens", [3]),
    ],
)
@pytest.mark.goal(6)
def test_one_request_by_every_formula(tag: str, values: list[float]) -> None:
    assert metrics.BY_TAG[tag].one(record(due_s=0.98)) == pytest.approx(values)


@pytest.mark.goal(6)
def test_every_formula_is_tested_and_says_its_unit() -> None:
    assert len({metric.tag for metric in ALL}) == len(ALL) == 19
    assert all(metric.unit and metric.formula and metric.label for metric in ALL)


def test_what_a_request_does_not_have_gives_no_sample() -> None:
    bare = record(
        first_byte_s=None, first_chunk_s=None, last_chunk_s=None, answer_s=None, text_s=(),
        output_tokens=None, prompt_tokens=None,
    )  # fmt: skip
    given = [metric.tag for metric in ALL if metric.one(bare)]
    assert given == ["e2e_ms"]


def test_thinking_is_text_but_not_the_answer() -> None:
    thinks = record(answer_s=1.5)
    assert metrics.ttft_ms(thinks) == pytest.approx([200])
    assert metrics.ttfo_ms(thinks) == pytest.approx([500])


def test_bundled_tokens_change_the_gaps_and_not_the_time_per_token() -> None:
    bundled = record(output_tokens=5)
    assert metrics.tpot_ms(bundled) == pytest.approx([75])
    assert tokens_per_chunk(level(bundled)) == pytest.approx(5 / 3)


def test_one_token_has_no_time_between_tokens() -> None:
    one = record(output_tokens=1, text_s=(1.2,))
    assert metrics.tpot_ms(one) == metrics.vllm_tpot_ms(one) == metrics.second_token_ms(one) == []


def test_rates_are_over_the_window_and_failures_are_in_it() -> None:
    failed = record(1, outcome=Outcome.ERROR, sent_s=0.0, end_s=4.0, output_tokens=None, text_s=())
    short = record(2, outcome=Outcome.SHORT, output_tokens=1)
    both = level(record(), failed, short)
    assert window_s(both) == 4.0
    assert output_tokens_per_s(both) == pytest.approx(1.0)
    assert total_tokens_per_s(both) == pytest.approx(6.0)
    assert requests_per_s(both) == pytest.approx(0.25)
    assert error_rate(both) == pytest.approx(1 / 3)


def test_only_full_answers_are_in_the_latencies() -> None:
    others = [
        record(n, outcome=outcome, text_s=(9.0,), end_s=9.0)
        for n, outcome in enumerate(Outcome)
        if outcome is not Outcome.OK
    ]
    summary = summarize(level(record(), *others))
    counts = (summary.ok, summary.short, summary.errors, summary.unfinished)
    assert counts == (1, 1, 1, 1)
    assert summary.spreads["ttft_ms"].n == 1 and summary.spreads["e2e_ms"].maximum < 700


def test_warm_up_and_cool_down_are_in_no_figure_but_in_the_load() -> None:
    slow = {"text_s": (5.0, 6.0, 7.0), "end_s": 8.0}
    early = record(0, phase=Phase.WARMUP, sent_s=0.0, **slow)
    late = record(2, phase=Phase.COOLDOWN, sent_s=7.5, text_s=(9.0,), end_s=9.5, output_tokens=3)
    inside = record(1, sent_s=4.0, text_s=(5.0, 5.5, 6.0), end_s=6.0)
    whole = level(early, inside, late, window=(4.0, 8.0))
    summary = summarize(whole)
    assert (summary.ok, summary.excluded) == (1, 2)
    assert summary.spreads["ttft_ms"].maximum == pytest.approx(1000)
    # What arrived between 4 and 8 s: all of two requests, whoever sent them.
    assert summary.output_tokens_per_s == pytest.approx(6 / 4)
    assert summary.peak_in_flight == 2


def test_peaks_are_counted_exactly() -> None:
    spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 2.6)]
    records = [record(i, sent_s=a, end_s=b) for i, (a, b) in enumerate(spans)]
    assert peak_in_flight(level(*records)) == 3
    twice = level(record(), record(1, text_s=(1.9, 2.1, 2.2)))
    assert peak_tokens_per_s(twice) == pytest.approx(4)


def test_what_was_offered_is_counted_by_what_was_sent() -> None:
    sent = [record(i, sent_s=i * 0.5) for i in range(5)]
    assert offered_per_s(level(*sent)) == pytest.approx(2.0)


@pytest.mark.goal(6)
def test_the_price_of_a_million_tokens() -> None:
    hour = record(output_tokens=3_600, prompt_tokens=32_400, sent_s=0.0, end_s=3600.0)
    summary = summarize(level(hour), BenchConfig(usd_per_hour=0.36))
    assert summary.usd_per_million_tokens == pytest.approx(100.0)
    assert summary.usd_per_million_total_tokens == pytest.approx(10.0)
    assert usd_per_million(None, 1.0) is None and usd_per_million(1.0, None) is None


@pytest.mark.goal(6)
def test_goodput_needs_every_bound_and_errors_are_not_good() -> None:
    config = BenchConfig(slos=(parse("ttft<=300"), parse("e2e<=700")), usd_per_hour=2.0)
    good = record(0)
    slow = record(1, text_s=(1.45, 1.5, 1.55))
    long = record(2, end_s=2.0)
    failed = record(3, outcome=Outcome.ERROR)
    summary = summarize(level(good, slow, long, failed), config)
    assert summary.good_share == pytest.approx(0.25)
    assert summary.goodput_per_s == pytest.approx(1.0)  # in a window of one second
    assert summary.good_per_usd == pytest.approx(1800)


def test_nothing_measured_has_no_figures() -> None:
    nothing = summarize(level())
    assert nothing.output_tokens_per_s is None and nothing.spreads == {}
    assert nothing.requests_per_s is None and nothing.error_rate is None


def test_closed_loops_are_marked_from_where_more_brings_little() -> None:
    def at(concurrency: int, rate: float) -> object:
        tokens = int(rate * 10)
        one = record(sent_s=0.0, text_s=(5.0,), end_s=10.0, output_tokens=tokens)
        return summarize(level(one, load=Load(concurrency=concurrency)))

    found = marked([at(4, 41), at(1, 20), at(2, 38), at(8, 60)])  # type: ignore[list-item]
    assert not any(s.is_saturated for s in found)  # what held up four did not hold up eight
    found = marked([at(4, 41), at(1, 20), at(2, 38), at(8, 42)])  # type: ignore[list-item]
    assert [(s.load.concurrency, s.is_saturated) for s in found] == [
        (4, True), (1, False), (2, False), (8, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0.00"),
        (0.0012, "0.0012"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
    ],
)
def test_three_figures_count(value: float | None, text: str) -> None:
    assert number(value) == text


def test_metrics_shown_are_few() -> None:
    assert len(METRICS) == 9 and len(throughput.FORMULAS) == 8
