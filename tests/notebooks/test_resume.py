"""Runs that are gone on with: nothing is done, opened or paid for twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deploying import until
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RESULT, holding
from toolkit.deploy.keeper import Keeper
from toolkit.errors import UsageError

DATA = Path(__file__).parent / "data"
OPENS = str(DATA / "opens_and_waits.ipynb")
FAILS = str(DATA / "fails.ipynb")


async def test_what_ended_well_is_not_executed_again(tmp_path: Path) -> None:
    out, counted = tmp_path / "run", tmp_path / "counted"
    given = {"code": f"open({str(counted)!r}, 'a').write('x')"}
    first = await run_notebook(FAILS, given, out=out, resume=True)
    again = await run_notebook(FAILS, given, out=out, resume=True)
    assert (first.status, first.attempt) == ("ok", 1)
    assert again == first
    assert counted.read_text() == "x"
    await run_notebook(FAILS, given, out=out)
    assert counted.read_text() == "xx"  # unless nothing was said of going on


async def test_a_failed_run_begins_again_and_keeps_what_it_was(tmp_path: Path) -> None:
    out, good = tmp_path / "run", tmp_path / "good"
    given = {"code": f"open({str(good)!r})"}
    failed = await run_notebook(FAILS, given, out=out, resume=True)
    good.touch()
    done = await run_notebook(FAILS, given, out=out, resume=True)
    assert (failed.status, done.status, done.attempt) == ("failed", "ok", 2)
    assert done.run_id == failed.run_id
    kept = out / "attempt-1"
    assert {path.name for path in kept.iterdir()} == {"fails.ipynb", "worker.log", RESULT}
    assert json.loads((kept / RESULT).read_text())["status"] == "failed"
    assert "papermill-error-cell" in (kept / "fails.ipynb").read_text()
    assert json.loads((out / RESULT).read_text())["status"] == "ok"


async def test_what_a_killed_run_had_opened_is_adopted(tmp_path: Path, stocked_home: Path) -> None:
    out, started, wait = tmp_path / "run", tmp_path / "started", tmp_path / "wait"
    wait.touch()
    argv = [sys.executable, "-m", "toolkit", "notebook", "run", OPENS, "--out", str(out)]
    argv += ["--resume", "-p", f"started={started}", "-p", f"wait={wait}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as cli:
        await until(started.exists)
        cli.kill()
    keeper = Keeper()
    try:
        (record,) = keeper.ledger.open_records()
        wait.unlink()
        given = {"started": str(started), "wait": str(wait)}
        done = await run_notebook(OPENS, given, out=out, resume=True)
        assert (done.status, done.attempt, done.run_id) == ("ok", 2, record.run_id)
        assert [each.uid for each in keeper.ledger.records()] == [record.uid]
        assert done.scraps["url"] == record.url
        assert started.read_text().splitlines() == ["opened"] * 2
    finally:
        await keeper.close("mine")


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("typed", {}, "is one of fails"),
        ("fails", {"code": "2"}, "other parameters: code"),
    ],
)
async def test_another_run_is_not_gone_on_with(
    tmp_path: Path, name: str, given: dict[str, object], says: str
) -> None:
    await run_notebook(FAILS, {"code": "1"}, out=tmp_path)
    before = (tmp_path / RESULT).read_bytes()
    with pytest.raises(UsageError, match=says):
        await run_notebook(str(DATA / f"{name}.ipynb"), given, out=tmp_path, resume=True)
    assert (tmp_path / RESULT).read_bytes() == before


async def test_a_result_that_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text("{}")
    with pytest.raises(UsageError, match="is none of a run"):
        await run_notebook(FAILS, {"code": "1"}, out=tmp_path, resume=True)
    assert (tmp_path / RESULT).read_text() == "{}"


async def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with holding(tmp_path), pytest.raises(UsageError, match="another run is at work"):
        await run_notebook(FAILS, {"code": "1"}, out=tmp_path)


def test_the_command_wants_the_folder() -> None:
    argv = [sys.executable, "-m", "toolkit", "notebook", "run", FAILS, "--resume"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--resume needs the folder of a run" in done.stderr and "--out" in done.stderr
