"""A matrix of runs: each ended before the next, within one budget, and gone on with."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.console import renting
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.automation.matrix import read_matrix
from toolkit.automation.matrix_result import MATRIX, MatrixResult
from toolkit.automation.matrix_run import MatrixRun
from toolkit.cli import run as command
from toolkit.deploy.base import Record, State
from toolkit.deploy.keeper import Keeper
from toolkit.errors import DeadlineError, UsageError

BRIEF = {"concurrency": [1], "requests": 1, "output_tokens": 4}


def written(folder: Path, **document: Any) -> Path:
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


async def run(path: Path, out: Path, *, resume: bool = False) -> MatrixResult:
    running = MatrixRun(read_matrix(path), out=out, source=path, resume=resume)
    return await running.run()


async def test_one_that_fails_keeps_no_other_from_it_and_is_gone_on_with(
    stocked_home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = written(
        tmp_path,
        matrix={"model": ["no-such-model", "smollm2:135m"]},
        parameters={**BRIEF, "context": 512, "parallel": 1},
    )
    first = await run(path, out)
    assert [(one.status, one.exit_code) for one in first.outcomes] == [("failed", 3), ("ok", 0)]
    assert "no-such-model" in first.outcomes[0].why
    assert first.exit_code == 3
    figures = first.outcomes[1].figures
    assert figures is not None and figures.output_tokens_per_s > 0
    assert Keeper().ledger.open_records() == []
    names = [one.name for one in first.outcomes]
    assert names == [f"some-{n}-{first.matrix_id[-8:]}" for n in (1, 2)]
    assert "no-such-model" in (out / "matrix.md").read_text()
    assert "default-src 'none'" in (out / "matrix.html").read_text()
    executed = (out / "2" / "06_benchmark" / "06_benchmark.ipynb").stat().st_mtime_ns

    again = await run(path, out, resume=True)
    assert again.outcomes[1] == first.outcomes[1]
    assert (out / "2" / "06_benchmark" / "06_benchmark.ipynb").stat().st_mtime_ns == executed
    assert again.matrix_id == first.matrix_id

    with pytest.raises(UsageError, match="a matrix is in"):
        await run(path, out)
    other = written(tmp_path, matrix={"model": ["smollm2:135m"]})
    with pytest.raises(UsageError, match="was another one"):
        await run(other, out, resume=True)


@pytest.fixture
def world() -> World:
    return World(hosts=renting.hosts(1000, 1100))


@pytest.fixture
def server(
    world: World, stocked_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConsoleServer]:
    with ConsoleServer(world, blocks_per_look=1) as server, Ingress(world, tmp_path):
        renting.announce(server, monkeypatch)
        yield server


def test_what_the_budget_may_not_pay_for_is_left_out(
    server: ConsoleServer, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    rented = {"target": "console", "image": "example.org/akash-llm-server:1"}
    path = written(
        tmp_path,
        notebooks=["04_deploy"],
        matrix={"parallel": [1, 2]},
        parameters={**rented, "max_usd_per_hour": 1.0, "runtime_hours": 1.0},
        budget_usd=1.0,
    )
    assert command(["notebook", "matrix", str(path), "--dry-run"]) == 0
    assert not world.deployments
    assert "2 combinations, $2.00 at most, of which $1.00 may be spent" in capsys.readouterr().out
    assert command(["notebook", "matrix", str(path), "--out", str(out)]) == 9
    document = json.loads((out / MATRIX).read_text())
    assert [one["status"] for one in document["outcomes"]] == ["ok", "skipped"]
    # The first has cost something, so the second could not have been paid for at its worst.
    spent = Decimal(document["spent_usd"])
    assert 0 < spent < 1 and Decimal(document["outcomes"][0]["spent_usd"]) == spent
    assert document["outcomes"][0]["usd_per_hour"] is not None
    assert len(world.deployments) == 1
    assert not any(each.is_active for each in world.deployments.values())
    (record,) = Keeper().ledger.records()
    assert record.state is State.CLOSED and record.intent.max_usd_total == 1


async def test_one_that_cannot_be_closed_is_written_down_and_the_last(
    tmp_path: Path, stocked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(
        tmp_path,
        notebooks=["04_deploy"],
        matrix={"context": [256, 512]},
        parameters={"parallel": 1},
    )
    real, is_stuck = Keeper.close_all, True

    async def close_all(keeper: Keeper, names: Sequence[str]) -> list[Record]:
        if names and is_stuck:
            raise DeadlineError("it did not end in time")
        return await real(keeper, names)

    monkeypatch.setattr(Keeper, "close_all", close_all)
    with pytest.raises(DeadlineError):
        await run(path, tmp_path / "out")
    document = json.loads((tmp_path / "out" / MATRIX).read_text())
    (only,) = document["outcomes"]
    assert only["status"] == "ok" and "could not be closed" in only["why"]
    assert "could not be closed" in (tmp_path / "out" / "matrix.md").read_text()
    is_stuck = False
    done = await run(path, tmp_path / "out", resume=True)
    assert [one.status for one in done.outcomes] == ["ok", "ok"]
    assert Keeper().ledger.open_records() == []
