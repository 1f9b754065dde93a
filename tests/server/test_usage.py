"""Counts of usage: added up, written in batches, kept when they cannot be written."""

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from server import grants
from server.state import State
from server.usage import Counts, Place, Query, Usage, UsageFile, rows

ONE = Counts(requests=1, prompt_tokens=3, output_tokens=5, seconds=0.25)
TODAY = grants.now().date()


def totals(found: Mapping[Place, Counts]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for place, counts in found.items():
        where = (place.key, place.model)
        sums[where] = sums.get(where, 0) + counts.requests
    return sums


@pytest.fixture
def file(tmp_path: Path) -> UsageFile:
    return UsageFile(State(tmp_path))


@pytest.mark.parametrize("kept", [True, False], ids=["file", "memory"])
async def test_counts_add_up(file: UsageFile, kept: bool) -> None:
    usage = Usage(file if kept else None)
    for key, model in (("ann", "m"), ("ann", "m"), ("ann", "n"), ("bob", "m")):
        usage.add(key, model, ONE)
    await usage.write()
    usage.add("ann", "m", Counts(requests=1, failed=1))
    found = await usage.read(Query(key="ann"))
    assert totals(found) == {("ann", "m"): 3, ("ann", "n"): 1}
    (shown,) = rows(await usage.read(Query(key="ann", model="m")))
    row = msgspec.to_builtins(shown)
    assert row.pop("day") >= TODAY.isoformat()
    assert row == {
        "key": "ann",
        "model": "m",
        "requests": 3,
        "failed": 1,
        "prompt_tokens": 6,
        "output_tokens": 10,
        "seconds": 0.5,
    }
    assert totals(await usage.read(Query(model="m"))) == {("ann", "m"): 3, ("bob", "m"): 1}
    tomorrow = TODAY + timedelta(days=2)
    assert await usage.read(Query(since=tomorrow)) == {}


def test_the_file_filters_and_forgets(file: UsageFile) -> None:
    days = [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]
    file.add({Place("ann", "m", day): ONE for day in days})
    file.add({Place("ann", "m", days[0]): ONE})
    found = file.read(Query(since=days[1]))
    assert [place.day for place in found] == [days[2], days[1]]
    assert file.read(Query())[Place("ann", "m", days[0])] == ONE + ONE
    file.forget(days[2])
    assert [place.day for place in file.read(Query())] == [days[2]]


async def test_what_cannot_be_written_is_kept_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    folder.write_text("a file in its place")
    usage = Usage(UsageFile(State(folder)))
    for _ in range(3):
        usage.add("ann", "m", ONE)
        await usage.write()
    assert len([r for r in caplog.records if "kept in memory" in r.message]) == 1
    folder.unlink()
    await usage.write()
    assert totals(UsageFile(State(folder)).read(Query())) == {("ann", "m"): 3}


async def test_old_days_are_forgotten_while_it_runs(file: UsageFile) -> None:
    old, kept = TODAY - timedelta(days=12), TODAY - timedelta(days=8)
    file.add({Place("ann", "m", old): ONE, Place("ann", "m", kept): ONE})
    usage = Usage(file, keep_days=10)
    running = asyncio.create_task(usage.run())
    while len(await usage.read(Query())) > 1:
        await asyncio.sleep(0.01)
    running.cancel()
    assert [place.day for place in await usage.read(Query())] == [kept]
