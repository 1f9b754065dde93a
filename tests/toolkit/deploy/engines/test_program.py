"""Where an engine's program is looked for, and in which order."""

import os
from pathlib import Path

import pytest

from tests.support.pairs import install
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.engines.program import CACHE, find_program
from toolkit.errors import ConfigError

VLLM = ENGINES["vllm"]


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_the_setting_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "bin", "vllm")
    own = install(tmp_path / "own", "vllm-0.32")
    monkeypatch.setenv("AKASH_LLM_VLLM", str(own))
    assert find_program(VLLM) == own


def test_then_path_then_what_was_made(tmp_path: Path) -> None:
    made = install(tmp_path / "cache" / CACHE / "vllm" / "bin", "vllm")
    assert find_program(VLLM) == made
    on_path = install(tmp_path / "bin", "vllm")
    assert find_program(VLLM) == on_path
    on_path.chmod(0o644)
    assert find_program(VLLM) == made


def test_a_relative_setting_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "own", "vllm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AKASH_LLM_VLLM", "own/vllm")
    assert find_program(VLLM) == tmp_path / "own" / "vllm"


@pytest.mark.parametrize("given", ["/nowhere/vllm", ".", "not-executable"])
def test_a_setting_that_is_no_program(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-executable").touch()
    install(tmp_path / "bin", "vllm")
    monkeypatch.setenv("AKASH_LLM_VLLM", given)
    with pytest.raises(ConfigError, match="AKASH_LLM_VLLM names"):
        find_program(VLLM)


@pytest.mark.parametrize("name", list(ENGINES))
def test_where_there_is_none_the_next_step_is_said(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not installed here") as caught:
        find_program(ENGINES[name])
    assert ENGINES[name].how_to_get in caught.value.hint
    assert f"AKASH_LLM_{name.upper()}={os.sep}" in caught.value.hint
