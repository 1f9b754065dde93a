"""The notebooks about models, deployment files and looking after an endpoint, run to their end."""

import re
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RunResult
from toolkit.deploy.base import State
from toolkit.deploy.keeper import Keeper


@pytest.mark.goal(8)
async def test_02_models_sizes_shows_and_deletes(stocked_home: Path) -> None:
    result = await run_notebook("02_models", {"delete": True})
    assert (result.exit_code, result.error) == (0, None)
    assert result.scraps["model"]["name"] == "smollm2:135m"
    assert result.scraps["sizing"]["weights"]["bytes"] > 90 << 20
    assert "Apache License" in result.scraps["license"]
    html = Path(result.output).read_text()
    assert "Where it fits" in html and "this machine" in html and "tok/s" in html
    assert not list((paths.models() / "manifests").rglob("135m"))


@pytest.mark.goal(8)
async def test_03_sdl_makes_breaks_and_explains(akash_home: Path) -> None:
    result = await run_notebook("03_sdl")
    assert (result.exit_code, result.error) == (0, None)
    assert re.fullmatch("[0-9a-f]{64}", result.scraps["hash"])
    mistakes = result.scraps["mistakes"]
    assert {each["path"].rpartition("/")[2] for each in mistakes} >= {"size", "port", "profile"}
    assert all(each["line"] > 1 and each["hint"] for each in mistakes)
    assert result.scraps["effect"] == "update"
    html = Path(result.output).read_text()
    assert "what to do" in html and "can be updated in place" in html


@pytest.mark.goal(8)
async def test_07_manage_changes_and_closes(stocked_home: Path) -> None:
    printed: list[str] = []
    result = await run_notebook("07_manage", echo=printed.append)
    try:
        assert (result.exit_code, result.error) == (0, None)
        assert result.scraps["ledger"] == ["closed", "closed"]  # before and after the change
        assert result.scraps["disagreements"] == []
        html = Path(result.output).read_text()
        assert "context: 1024" in html and "Ledger" in html and "Events" in html
        _assert_no_key(result)
    finally:
        await Keeper().close("managed")


@pytest.mark.goal(8)
async def test_07_manage_only_looks_at_what_it_has_not_started(stocked_home: Path) -> None:
    printed: list[str] = []
    try:
        first = await run_notebook("07_manage", {"change": False, "keep": True})
        assert first.exit_code == 0
        (record,) = Keeper().ledger.records()
        assert record.state is State.READY
        again = await run_notebook("07_manage", echo=printed.append)
        assert (again.exit_code, again.error) == (0, None)
        assert "managed: open already, so it is only looked at" in "".join(printed)
        assert Keeper().ledger.records() == [record]
    finally:
        await Keeper().close("managed")


@pytest.mark.parametrize(
    ("name", "parameters", "code", "told"),
    [
        ("02_models", {"gpus": ["4090"]}, 2, "did you mean rtx4090?"),
        ("02_models", {"model": "no name/at:all:x"}, 2, "invalid model name"),
        ("03_sdl", {"image": "ghcr.io/you/akash-llm-server"}, 3, "version"),
        ("07_manage", {"model": "unheard-of:1b"}, 3, "models add"),
        ("07_manage", {"name": "No Name"}, 2, "cannot name an endpoint"),
    ],
)
@pytest.mark.goal(8)
async def test_a_mistake_is_said_with_its_exit_code(
    name: str, parameters: dict[str, object], code: int, told: str, stocked_home: Path
) -> None:
    result = await run_notebook(name, parameters)
    assert result.exit_code == code and result.error is not None, result.error
    assert told in f"{result.error.message} {result.error.hint}"
    assert [r for r in Keeper().ledger.records() if r.is_open] == []


def _assert_no_key(result: RunResult) -> None:
    key = paths.key_file("managed").read_bytes().strip()
    files = [path for path in Path(result.folder).iterdir() if path.is_file()]
    assert files and [path for path in files if key in path.read_bytes()] == []
