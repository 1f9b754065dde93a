"""Notebooks run to their end, whichever end: exit codes, artefacts, nothing left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.support.deploying import until
from toolkit import errors, paths
from toolkit.automation.events import Failed
from toolkit.automation.run import exit_code_of, run_notebook
from toolkit.automation.run_folder import RunResult, run_folder
from toolkit.deploy import processes
from toolkit.deploy.base import Intent, State, Update
from toolkit.deploy.keeper import Keeper
from toolkit.errors import UsageError

DATA = Path(__file__).parent / "data"
CANARY = "canary-7f3b9c-of-a-token"


async def run(name: str, **parameters: object) -> RunResult:
    return await run_notebook(str(DATA / f"{name}.ipynb"), parameters)


def cells_of(result: RunResult) -> list[dict[str, object]]:
    cells: list[dict[str, object]] = json.loads(Path(result.output).read_text())["cells"]
    return cells


async def test_a_good_run_leaves_its_results(akash_home: Path) -> None:
    updates, printed = list[Update](), list[str]()
    given = {"text": "b", "count": 2, "words": ["x", "y"]}
    result = await run_notebook(
        str(DATA / "typed.ipynb"), given, progress=updates.append, echo=printed.append
    )
    assert (result.status, result.exit_code, result.error) == ("ok", 0, None)
    assert result.scraps["given"] == ["b", 2, 0.5, False, None, ["x", "y"], 3]
    assert [update.phase for update in updates] == [f"cell {n} of 3" for n in (1, 2, 3)]
    folder = Path(result.folder)
    assert folder.parent == akash_home / "runs" and folder.name.endswith("-typed")
    assert json.loads((folder / "result.json").read_text())["scraps"] == result.scraps


async def test_the_kernel_is_of_this_environment_whatever_python3_means_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["/no/such/python", "-f", "{connection_file}"], "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    result = await run("typed")
    assert result.scraps["python"] == sys.executable


@pytest.mark.parametrize("name", ["SDLError", "CredentialsError", "BudgetError"])
@pytest.mark.goal(8)
async def test_the_class_in_the_failed_cell_is_the_exit_code(name: str) -> None:
    result = await run("raises", error=name)
    assert result.status == "failed"
    assert result.exit_code == getattr(errors, name).exit_code
    assert result.error is not None
    assert (result.error.name, result.error.message) == (name, "it went wrong")
    assert result.error.hint == "do this"
    assert "after" not in result.scraps
    assert any("papermill-error-cell" in str(cell["source"]) for cell in cells_of(result))


@pytest.mark.goal(8)
def test_every_class_of_the_tree_has_its_code() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    assert len(classes) >= 11
    for one in classes:
        if issubclass(one, errors.ToolkitError):
            assert exit_code_of(Failed(one.__name__, "")) == one.exit_code
    assert exit_code_of(Failed("ZeroDivisionError", "")) == 1


@pytest.mark.parametrize(
    ("code", "status", "exit_code", "name"),
    [
        ("1 / 0", "failed", 1, "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "failed", 1, "SystemExit"),
        ("import sys; sys.exit(2)", "failed", 1, "SystemExit"),
        ("raise KeyboardInterrupt", "interrupted", 130, "KeyboardInterrupt"),
        ("import os; os.kill(os.getpid(), 9)", "failed", 1, "DeadKernel"),
    ],
)
@pytest.mark.goal(8)
async def test_other_ends(code: str, status: str, exit_code: int, name: str) -> None:
    result = await run("fails", code=code)
    assert (result.status, result.exit_code) == (status, exit_code)
    assert result.error is not None and result.error.name == name
    assert result.error.message
    assert result.error.cell == 4  # papermill's own cell with the parameters counts
    assert result.scraps == {"before": True}


async def test_a_cell_that_takes_too_long() -> None:
    result = await run_notebook(
        str(DATA / "fails.ipynb"), {"code": "import time; time.sleep(600)"}, cell_timeout_s=2
    )
    assert (result.exit_code, result.error and result.error.name) == (6, "CellTimeout")


async def test_a_notebook_that_names_no_language_takes_parameters(tmp_path: Path) -> None:
    document = json.loads((DATA / "typed.ipynb").read_text())
    notebook = tmp_path / "bare.ipynb"
    notebook.write_text(json.dumps(document | {"metadata": {}}))
    result = await run_notebook(str(notebook), {"text": "b"})
    assert result.error is None and result.exit_code == 0


@pytest.mark.goal(8)
async def test_bad_parameters_start_nothing(akash_home: Path) -> None:
    with pytest.raises(UsageError):
        await run("typed", cuont=1)
    assert not akash_home.exists()


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.goal(3)
async def test_no_artefact_holds_a_secret(
    fail: bool, akash_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    printed = list[str]()
    given = {"fail": fail}
    result = await run_notebook(str(DATA / "canary.ipynb"), given, echo=printed.append)
    assert "".join(printed) == "on stdout [hidden]"
    assert result.status == ("failed" if fail else "ok")
    files = [path for path in akash_home.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"canary.ipynb", "result.json", "worker.log"}
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    document = json.loads(Path(result.output).read_text())
    assert "widgets" not in document["metadata"]
    assert "on stdout [hidden]" in json.dumps(document)


async def test_a_failed_run_closes_what_it_opened(stocked_home: Path) -> None:
    result = await run("opens", fail=True)
    assert result.status == "failed"
    assert result.closed == ("mine",)
    (record,) = Keeper().ledger.records()
    assert (record.state, record.run_id) == (State.CLOSED, result.run_id)
    assert processes.marked(record.uid) == {}
    names = {path.name for path in Path(result.folder).iterdir()}
    assert {"mine.sdl.yaml", "mine.log"} <= names


async def test_a_failed_run_leaves_what_it_adopted(stocked_home: Path) -> None:
    keeper = Keeper()
    plan = await keeper.plan(Intent(name="mine", context=256, parallel=1))
    record = await keeper.apply(plan)
    try:
        result = await run("opens", fail=True)
        assert (result.status, result.closed) == ("failed", ())
        assert keeper.ledger.find("mine") == keeper.ledger.get(record.uid)
    finally:
        await keeper.close("mine")


async def test_a_good_run_leaves_it_running(stocked_home: Path) -> None:
    try:
        result = await run("opens", fail=False)
        assert (result.status, result.closed) == ("ok", ())
        (seen,) = await Keeper().status()
        assert (seen.name, seen.health, seen.run_id) == ("mine", "ready", result.run_id)
    finally:
        await Keeper().close("mine")


async def test_cancelled_it_ends_the_kernel_and_says_so(tmp_path: Path, akash_home: Path) -> None:
    started = tmp_path / "started"
    task = asyncio.create_task(run("waits", started=str(started)))
    await until(lambda: started.exists() and bool(started.read_text()))
    kernel = psutil.Process(int(started.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not kernel.is_running()
    (folder,) = (akash_home / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("interrupted", 130)


async def test_killed_itself_it_leaves_the_truth_and_no_kernel(
    tmp_path: Path, akash_home: Path
) -> None:
    started = tmp_path / "started"
    argv = [sys.executable, "-m", "toolkit", "notebook", "run", str(DATA / "waits.ipynb")]
    with subprocess.Popen([*argv, "-p", f"started={started}"], stderr=subprocess.DEVNULL) as cli:
        await until(lambda: started.exists() and bool(started.read_text()))
        kernel = psutil.Process(int(started.read_text()))
        cli.kill()
    await until(lambda: not kernel.is_running())
    (folder,) = (akash_home / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == "running"


async def test_the_command_prints_what_cells_print_and_returns_the_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "toolkit", "notebook", "run", str(DATA / "fails.ipynb")]
    argv += ["-p", "code=print('\\x1b[31mhello'); raise KeyboardInterrupt", "--out", str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stdout == "hello\n"
    assert "cell 4 of 5" in done.stderr and "\x1b" not in done.stderr
    assert (tmp_path / "result.json").exists() and (tmp_path / "fails.ipynb").exists()


async def test_ctrl_c_is_130(tmp_path: Path) -> None:
    started = tmp_path / "started"
    argv = [sys.executable, "-m", "toolkit", "notebook", "run", str(DATA / "waits.ipynb")]
    argv += ["-p", f"started={started}"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as cli:
        await until(lambda: started.exists() and bool(started.read_text()))
        os.kill(cli.pid, signal.SIGINT)
        _, said = await asyncio.to_thread(cli.communicate)
    assert cli.returncode == 130
    assert "interrupted" in said and "Traceback" not in said


def test_two_runs_in_one_second_get_two_folders(akash_home: Path) -> None:
    now = datetime.now(UTC)
    folders = [run_folder(None, DATA / "typed.ipynb", now) for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.parent == paths.runs() for folder in folders)


async def test_half_a_character_is_no_failure(akash_home: Path, tmp_path: Path) -> None:
    code = "import toolkit\nprint('a\\ud800b')\ntoolkit.glue('said', ['c\\ud83d'])\n'd\\udc00'"
    given = nbformat.v4.new_code_cell("given: str = ''", metadata={"tags": ["parameters"]})
    cells = [given, nbformat.v4.new_code_cell(code)]
    path = tmp_path / "halves.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    printed: list[str] = []
    result = await run_notebook(str(path), {"given": "e\ud83d"}, echo=printed.append)
    assert (result.exit_code, result.error) == (0, None)
    assert result.scraps["said"] == ["c\ufffd"]
    written = json.loads((Path(result.folder) / "result.json").read_text())
    assert written["scraps"] == {"said": ["c\ufffd"]}
