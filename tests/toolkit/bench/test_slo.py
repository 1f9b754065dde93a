"""Objectives: how they are written, and what they say of a level."""

import pytest

from tests.support.benching import level, record, result_of
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.records import Outcome
from toolkit.bench.slo import SLO, is_good, parse
from toolkit.bench.summary import marked, summarize
from toolkit.errors import SLOMissed, UsageError


@pytest.mark.parametrize(
    ("text", "slo"),
    [
        ("ttft_ms:p99<=500", SLO("ttft_ms", "p99", "<=", 500)),
        ("ttft <= 0.5s", SLO("ttft_ms", "p99", "<=", 500)),
        ("tpot:mean<=50ms", SLO("tpot_ms", "mean", "<=", 50)),
        ("itl:p99.9<=80", SLO("itl_gap_ms", "p99.9", "<=", 80)),
        ("e2el:p50<=2s", SLO("e2e_ms", "p50", "<=", 2000)),
        ("user_tokens_per_s:p5>=20", SLO("user_tokens_per_s", "p5", ">=", 20)),
        ("error_rate<=1%", SLO("error_rate", "", "<=", 0.01)),
        ("usd_per_million_tokens<=2.5", SLO("usd_per_million_tokens", "", "<=", 2.5)),
    ],
)
def test_as_written(text: str, slo: SLO) -> None:
    assert parse(text) == slo and parse(str(slo)) == slo


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fast", "is not an objective"),
        ("ttft<500", "is not an objective"),
        ("speed<=5", "names no metric"),
        ("ttft:p100<=5", "percentile"),
        ("ttft:p0<=5", "percentile"),
        ("ttft:p9.9.9<=5", "percentile"),
        ("ttft<=1.2.3", "no number"),
        ("ttft<=5%", "a share"),
        ("error_rate<=5ms", "a time"),
        ("error_rate:p99<=5", "no percentiles"),
    ],
)
def test_what_is_none_says_what_could_be_meant(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        parse(text)
    assert "ttft_ms:p99<=500" in caught.value.hint


def test_a_level_is_held_against_each() -> None:
    slos = tuple(map(parse, ("ttft:p50<=250", "ttft:p99<=250", "output_tokens_per_s>=5")))
    records = [record(n) for n in range(9)]
    slow = record(9, text_s=(1.4, 1.5))
    summary = summarize(level(*records, slow), BenchConfig(slos=slos))
    assert [verdict.is_met for verdict in summary.verdicts] == [True, False, True]
    assert not summary.is_good


def test_a_level_without_figures_meets_nothing() -> None:
    failed = record(outcome=Outcome.ERROR)
    config = BenchConfig(slos=(parse("ttft<=500"), parse("usd_per_million_tokens<=1")))
    summary = summarize(level(failed), config)
    assert [(v.value, v.is_met) for v in summary.verdicts] == [(None, False), (None, False)]


def test_errors_make_a_level_bad_unless_they_are_allowed() -> None:
    records = [*(record(n) for n in range(9)), record(9, outcome=Outcome.ERROR)]
    strict = summarize(level(*records), BenchConfig(slos=(parse("ttft<=500"),)))
    lax = summarize(
        level(*records), BenchConfig(slos=(parse("ttft<=500"), parse("error_rate<=20%")))
    )
    assert not strict.is_good and lax.is_good


def test_a_result_that_misses_one_can_fail_a_notebook() -> None:
    config = BenchConfig(slos=(parse("ttft<=100"),))
    result = result_of(level(record()), config=config)
    with pytest.raises(SLOMissed, match="misses ttft_ms:p99<=100") as caught:
        result.checked()
    assert caught.value.exit_code == 8
    met = result_of(level(record()), config=BenchConfig(slos=(parse("ttft<=300"),)))
    assert met.checked() is met


def test_a_sweep_misses_only_when_no_load_is_good() -> None:
    slow = record(text_s=(1.9, 1.95))
    config = BenchConfig(slos=(parse("ttft<=300"),), sweep=Sweep())
    two = (level(record(), load=Load(concurrency=1)), level(slow, load=Load(concurrency=2)))
    assert not result_of(*two, config=config).has_missed
    assert result_of(two[1], config=config).has_missed


def test_every_gap_of_a_good_request_is_good() -> None:
    assert is_good(record(), [parse("itl<=200.1")])
    assert not is_good(record(), [parse("itl<=199")])
    assert not is_good(record(outcome=Outcome.SHORT), [])


@pytest.mark.parametrize(("ended_by", "is_bad"), [("duration", True), ("stopped", False)])
def test_who_gets_no_answer_in_time_is_no_better_off_than_with_an_error(
    ended_by: str, is_bad: bool
) -> None:
    records = [record(), *(record(n, outcome=Outcome.UNFINISHED) for n in range(1, 10))]
    config = BenchConfig(slos=(parse("error_rate<=1%"), parse("e2e<=3600s")))
    summary = summarize(level(*records, ended_by=ended_by), config)
    assert (summary.errors, summary.unfinished) == ((9, 0) if is_bad else (0, 9))
    assert summary.error_rate == pytest.approx(0.9 if is_bad else 0.0)
    assert summary.is_good is not is_bad
    assert bool(summary.messages) is is_bad


def test_a_load_is_measured_once() -> None:
    with pytest.raises(UsageError, match="there twice"):
        BenchConfig(concurrency=(1, 2, 1)).checked()


def test_levels_whose_loads_look_the_same_keep_their_own_figures() -> None:
    same = Load(arrival="constant", rate=1.0)
    two = [summarize(level(*[record(n) for n in range(count)], load=same)) for count in (1, 3)]
    assert [summary.ok for summary in marked(two)] == [1, 3]
