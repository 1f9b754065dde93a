"""The search for the limit, against servers that are formulas."""

import msgspec
import pytest

from tests.support.benching import level, record, result_of
from toolkit.bench.arrival import Load
from toolkit.bench.best import best, sentence
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.records import Level
from toolkit.bench.saturation import backlog_grows, grows
from toolkit.bench.slo import parse
from toolkit.bench.summary import Summary, marked, summarize
from toolkit.bench.sweep import limit_of, next_load

MOST_TOKENS_PER_S = 100.0


def served(load: Load, config: BenchConfig) -> Summary:
    """A server of so many tokens per second in all, 10 for one request; 5 tokens each."""
    if load.is_open:
        return _open(load, config)
    count = load.concurrency or 1
    rate = min(10.0 * count, MOST_TOKENS_PER_S)
    lasts = 5 * count / rate
    records = [
        record(n, sent_s=0.0, text_s=(lasts / 2, lasts), end_s=lasts, output_tokens=5)
        for n in range(count)
    ]
    return summarize(level(*records, load=load), config)


def _open(load: Load, config: BenchConfig) -> Summary:
    """It answers 20 requests a second at most, in order."""
    rate = load.rate or 1.0
    free, records = 0.0, []
    for n in range(int(rate * 10)):
        sent = n / rate
        free = max(free, sent) + 1 / 20
        records.append(
            record(n, sent_s=sent, text_s=(free, free + 0.2), end_s=free + 0.5, output_tokens=5)
        )
    return summarize(level(*records, load=load), config)


def searched(config: BenchConfig) -> list[Summary]:
    done: list[Summary] = []
    while load := next_load(config, marked(done)):
        done.append(served(load, config))
        assert len(done) < 30
    return list(marked(done))


def test_levels_that_were_asked_for_come_in_their_order() -> None:
    config = BenchConfig(concurrency=(4, 1))
    assert [s.load.concurrency for s in searched(config)] == [4, 1]
    rates = BenchConfig(rates=(2.0, 50.0, 80.0), until_saturated=True)
    assert [s.load.rate for s in searched(rates)] == [2.0, 50.0]


def test_concurrency_doubles_until_it_brings_little_and_is_refined() -> None:
    found = searched(BenchConfig(sweep=Sweep(refine=3)))
    loads = [s.load.concurrency for s in found]
    assert loads[:6] == [1, 2, 4, 8, 16, 32] and len(loads) == 9
    good, bad = limit_of(BenchConfig(sweep=Sweep()), found)
    assert good <= 16 and bad is not None and bad > good
    assert [s.is_saturated for s in found if s.load.concurrency in (8, 32)] == [False, True]


def test_rates_begin_below_what_one_request_reaches_and_end_at_what_is_kept_up_with() -> None:
    config = BenchConfig(sweep=Sweep(over="rate", refine=4), arrival="constant")
    found = searched(config)
    assert found[0].load.concurrency == 1 and found[1].load.rate == 1.0
    good, bad = limit_of(config, found)
    assert 17 < good <= 23 and bad is not None and 18 < bad < 26


def test_an_objective_ends_it_before_saturation_does() -> None:
    config = BenchConfig(sweep=Sweep(refine=3), slos=(parse("e2e:p50<=600"),))
    good, bad = limit_of(config, searched(config))
    assert good == 12 and bad == 13  # 5 × 12 tokens take 0.6 s of 100 tokens/s


def test_it_stops_at_the_most_and_when_nothing_is_good() -> None:
    few = searched(BenchConfig(sweep=Sweep(most=3)))
    assert [s.load.concurrency for s in few] == [1, 2, 3]
    none = searched(BenchConfig(sweep=Sweep(), slos=(parse("ttft<=1ms"),)))
    assert [s.load.concurrency for s in none] == [1]
    low = searched(BenchConfig(sweep=Sweep(over="rate"), slos=(parse("ttft<=1ms"),)))
    assert len(low) <= 6


def test_the_finding_is_one_sentence() -> None:
    config = BenchConfig(sweep=Sweep(refine=3), slos=(parse("e2e:p50<=600"),), usd_per_hour=1.0)
    summaries = tuple(searched(config))
    result = msgspec.structs.replace(result_of(config=config), summaries=summaries)
    found = best(result)
    assert found is not None and found.load.concurrency == 12
    said = sentence(result)
    assert said.startswith("Best rate under e2e_ms:p50<=600: 100 tok/s, 20.0 requests/s at 12 open")
    assert "USD per million tokens; 13 open misses e2e_ms:p50<=600 with 650;" in said
    assert said.count(".\n") == 0 and said.endswith("requests failed.")


def test_no_good_level_says_why() -> None:
    config = BenchConfig(slos=(parse("ttft<=1ms"),))
    result = result_of(level(record()), config=config)
    assert best(result) is None
    assert sentence(result) == (
        "No level meets ttft_ms:p99<=1: 2 open misses ttft_ms:p99<=1 with 200."
    )
    assert sentence(result_of(level())) == "No answer was measured."


@pytest.mark.parametrize(("capacity", "is_over"), [(30.0, False), (20.0, False), (12.0, True)])
def test_a_backlog_that_grows_is_saturation(capacity: float, is_over: bool) -> None:
    sent = [n / 20 for n in range(400)]
    ended = [max(at, n / capacity) + 0.5 for n, at in enumerate(sent)]
    assert backlog_grows(sent, sorted(ended), sent[-1]) is is_over
    assert backlog_grows(sent[:10], [], sent[9]) is False


def test_a_slow_start_is_no_saturation() -> None:
    """Nothing ends before the middle; then as much as comes."""
    sent = [n / 10 for n in range(200)]
    assert not backlog_grows(sent, [at + 9.0 for at in sent], sent[-1])


def test_a_closed_loop_has_no_backlog() -> None:
    whole: Level = level(*(record(n, sent_s=n, end_s=500.0) for n in range(50)))
    assert not grows(whole)
