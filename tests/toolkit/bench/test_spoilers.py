"""What spoils figures is found and said, and nothing is said where nothing does."""

from typing import Any

import pytest

from tests.support.benching import level, record, result_of
from toolkit.bench import report
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.records import Client, Outcome
from toolkit.bench.summary import summarize
from toolkit.bench.workload import Workload


def notices(count: int = 100, work: Workload | None = None, **given: Any) -> list[str]:
    facts = {"client": given.pop("client")} if "client" in given else {}
    records = [record(n, **given) for n in range(count)]
    found = summarize(level(*records, **facts), BenchConfig(workload=work or Workload()))
    return list(found.notices)


def test_a_clean_level_has_nothing_to_say() -> None:
    assert notices() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"output_tokens": 9}, "a chunk carries 3.00 tokens"),
        ({"outcome": Outcome.SHORT}, "100 short answers"),
        ({"outcome": Outcome.UNFINISHED}, "100 requests were open"),
        ({"is_counted": False}, "counts no tokens"),
        ({"truncated_tokens": 7}, "100 prompts were cut"),
        ({"load_s": 0.4}, "100 prompts waited before they were read (up to 0.4 s"),
        ({"cached_tokens": 5}, "50% of the prompt tokens came from a cache, although"),
        (
            {"connect_s": 0.05},
            "100 first tokens came after a connection was opened (up to 50.0",
        ),
        ({"client": Client(clock_jump_s=-30.0)}, "the wall clock went -30.0 s"),
        ({"client": Client(longest_pause_s=0.4)}, "held up for 400 ms at most"),
        ({"due_s": 0.5}, "requests were sent up to 500 ms later"),
        ({"count": 5}, "only 5 requests"),
        ({"count": 50}, "p99 of 50 requests"),
    ],
)
def test_each_is_said_once(given: dict[str, Any], said: str) -> None:
    found = notices(**given)
    assert len(found) == 1 and said in found[0]


def test_a_client_that_is_busy_itself_is_said_of_what_lasts() -> None:
    busy = Client(cpu_share=0.95)
    assert notices(client=busy) == []
    records = [record(n, end_s=9.0) for n in range(100)]
    assert "95% of a core" in summarize(level(*records, client=busy)).notices[0]


def test_a_wanted_cache_is_said_to_be_wanted() -> None:
    (shared,) = notices(work=Workload(prefix_words=10), cached_tokens=5)
    assert "as the workload wants" in shared
    (again,) = notices(work=Workload(file="prompts.jsonl"), cached_tokens=5)
    assert "come again" in again


def test_levels_with_the_same_trouble_share_a_line() -> None:
    levels = [
        level(record(n), load=Load(concurrency=n), client=Client(clock_jump_s=2.0)) for n in (1, 2)
    ]
    found = report.notices(result_of(*levels))
    assert found[0].startswith("At 1 open, 2 open: the wall clock") and len(found) == 2
