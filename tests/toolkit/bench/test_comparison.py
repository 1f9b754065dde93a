"""Two results: compared where they were asked the same, refused with reasons where not."""

from typing import Any

import msgspec
import pytest

from tests.support.benching import level, record, result_of
from toolkit.bench import Result, Workload, compare
from toolkit.bench.arrival import Load
from toolkit.bench.comparison import text
from toolkit.bench.config import BenchConfig
from toolkit.errors import UsageError


def result(first_s: float = 0.2, count: int = 30, **given: Any) -> Result:
    """Answers whose first tokens take about `first_s`."""
    records = []
    for n in range(count):
        first = 1.0 + first_s * (1 + n / 100)
        records.append(record(n, text_s=(first, first + 0.1, first + 0.2), end_s=first + 0.3))
    return result_of(level(*records, load=Load(concurrency=2)), **given)


def about(made: Result, **facts: Any) -> Result:
    return msgspec.structs.replace(made, subject=msgspec.structs.replace(made.subject, **facts))


def test_figures_stand_side_by_side_and_noise_is_called_so() -> None:
    found = {row.figure: row for row in compare(result(0.2), result(0.1)).rows}
    first = found["first token p50"]
    assert first.change == pytest.approx(-0.5) and first.verdict == "better"
    same = {row.figure: row for row in compare(result(0.2), result(0.201)).rows}
    assert same["first token p50"].verdict == "within noise"
    worse = {row.figure: row for row in compare(result(0.1), result(0.2)).rows}
    assert worse["first token p99"].verdict == "worse"
    assert worse["tok/s"].change is not None and worse["tok/s"].verdict == "worse"
    assert "first token p50" in text(compare(result(), result()))
    few = {row.figure: row for row in compare(result(0.1, count=19), result(0.2)).rows}
    assert {few["first token p50"].verdict, few["tok/s"].verdict} == {"too few to tell"}


def test_what_else_differs_is_listed() -> None:
    other = about(result(), model="other", model_digest="d2", hardware="rtx4090", context=4096)
    other = msgspec.structs.replace(
        other, complete=False, config=BenchConfig(usd_per_hour=1.0), client="another"
    )
    said = "\n".join(compare(result(), other).differences)
    for part in (
        "model: ", "(its tokens are others)", "hardware: – → rtx4090", "context: – → 4096",
        "price: – → 1.00", "after is a partial result", "measured by: akash-llm 0.1.0 → another",
    ):  # fmt: skip
        assert part in said
    assert compare(result(), result()).differences == ()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (result(config=BenchConfig(workload=Workload(seed=2))), "seed: 1 and 2"),
        (about(result(), api="openai"), "the other openai"),
        (result(config=BenchConfig(warmup_s=1.0)), "as warm-up"),
        (msgspec.structs.replace(result(), remarks=("x",)), "without ignore_eos"),
        (result_of(level(record(), load=Load(concurrency=8))), "no load in common"),
        (
            result_of(level(record(), load=Load(arrival="poisson", rate=2.0))),
            "2 open and 2/s poisson",
        ),
        (result_of(level(load=Load(concurrency=2))), "one has no full answer"),
    ],
)
def test_what_was_not_asked_the_same_is_refused(other: Result, reason: str) -> None:
    with pytest.raises(UsageError, match="cannot be compared") as caught:
        compare(result(), other)
    assert reason in caught.value.message and caught.value.hint


def test_all_reasons_are_said_at_once() -> None:
    other = about(result(config=BenchConfig(workload=Workload(seed=2))), api="openai")
    with pytest.raises(UsageError) as caught:
        compare(result(), other)
    assert "seed" in caught.value.message and "openai" in caught.value.message
