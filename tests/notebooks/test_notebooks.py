"""The shipped notebooks: their shape, and that they run; once well, once badly."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolkit import paths
from toolkit.automation.params import list_notebooks, read_cells, read_parameters
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RunResult
from toolkit.deploy.keeper import Keeper

NOTEBOOKS = list_notebooks()
ids = [path.stem for path in NOTEBOOKS]


@pytest.fixture(params=NOTEBOOKS, ids=ids)
def notebook(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def code_of(notebook: Path) -> list[str]:
    return [c["source"] for c in read_cells(notebook) if c["cell_type"] == "code"]


def test_it_is_stripped_and_small(notebook: Path) -> None:
    cells = read_cells(notebook)
    assert len(cells) <= 15
    assert all(len(source.splitlines()) <= 8 for source in _without_parameters(notebook))
    assert all(not cell.get("outputs") for cell in cells)
    assert all(cell.get("execution_count") is None for cell in cells)


def _without_parameters(notebook: Path) -> list[str]:
    return [
        cell["source"]
        for cell in read_cells(notebook)
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", ())
    ]


def test_it_begins_with_what_it_costs(notebook: Path) -> None:
    first = read_cells(notebook)[0]
    assert first["cell_type"] == "markdown" and first["source"].startswith("# ")
    assert "Costs" in first["source"] and "takes" in first["source"]


def test_it_uses_the_plain_kernel(notebook: Path) -> None:
    document: dict[str, Any] = json.loads(notebook.read_text())
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)


@pytest.mark.goal(8)
def test_every_parameter_is_annotated_and_explained(notebook: Path) -> None:
    found = read_parameters(notebook)
    assert found
    assert [p.name for p in found if not p.help or p.type == "Any"] == []
    tagged = [c for c in read_cells(notebook) if "parameters" in c["metadata"].get("tags", ())]
    body = ast.parse(tagged[0]["source"]).body
    assert len(tagged) == 1 and all(isinstance(statement, ast.AnnAssign) for statement in body)


def test_it_defines_nothing_and_never_blocks(notebook: Path) -> None:
    for source in code_of(notebook):
        tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]
        assert not re.search(
            r"time\.sleep|run_until_complete|asyncio\.run|sys\.exit|exit\(", source
        )


def test_it_names_no_place_of_one_machine(notebook: Path) -> None:
    text = notebook.read_text()
    assert not re.search(r"/home/|/Users/|/root/|[A-Z]:\\\\", text)
    assert not re.findall(r"https?://(?!127\.0\.0\.1|localhost)[\w.]+", text)


def test_nbstripout_would_change_nothing(notebook: Path) -> None:
    argv = [sys.executable, "-m", "nbstripout", "--verify", str(notebook)]
    assert subprocess.run(argv, check=False).returncode == 0


# -- the ones of this part, run -----------------------------------------------------


@pytest.mark.goal(8)
async def test_04_deploy_ends_with_an_endpoint_that_answers(stocked_home: Path) -> None:
    printed: list[str] = []
    result = await run_notebook("04_deploy", {"context": 512}, echo=printed.append)
    try:
        assert result.status == "ok"
        assert result.scraps["url"].startswith("http://127.0.0.1:")
        assert result.scraps["key_file"] == str(paths.key_file("local"))
        assert result.scraps["stats"]["output_tokens"] > 0
        assert re.search(r"tokens at [\d.]+ tok/s, the first after \d+ ms", "".join(printed))
        again = await run_notebook("04_deploy", {"context": 512})
        assert again.scraps["url"] == result.scraps["url"]
        assert len(Keeper().ledger.records()) == 1
        _assert_no_key(result)
        other = await run_notebook("04_deploy", {"context": 256})
        assert (other.exit_code, other.closed) == (2, ())
    finally:
        await Keeper().close("local")


@pytest.mark.goal(8)
async def test_01_start_can_clean_up_after_itself(stocked_home: Path) -> None:
    result = await run_notebook("01_start", {"keep": False, "prompt": "Hello"})
    assert (result.status, result.exit_code) == ("ok", 0)
    assert [record.is_open for record in Keeper().ledger.records()] == [False]


@pytest.mark.parametrize("name", ["01_start", "04_deploy"])
@pytest.mark.goal(8)
async def test_a_model_that_is_not_there_is_a_configuration_error(
    name: str, stocked_home: Path
) -> None:
    result = await run_notebook(name, {"model": "unheard-of:1b"})
    assert result.exit_code == 3
    assert result.error is not None and "models add" in result.error.hint
    assert Keeper().ledger.records() == []


def _assert_no_key(result: RunResult) -> None:
    key = paths.key_file("local").read_bytes().strip()
    files = [path for path in Path(result.folder).iterdir() if path.suffix and path.is_file()]
    assert {path.suffix for path in files} == {".ipynb", ".json", ".log", ".yaml"}
    assert [path for path in files if key in path.read_bytes()] == []
