"""The outermost edge of the command line: help, and failures that no command expects."""

import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.cli import COMMANDS

AKASH_LLM = [sys.executable, "-m", "toolkit"]


def test_help_names_every_command() -> None:
    shown = subprocess.run([*AKASH_LLM, "--help"], capture_output=True, text=True, check=True)
    for name, (_, _, text) in COMMANDS.items():
        assert f"  {name} " in shown.stdout and text in shown.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    shown = subprocess.run([*AKASH_LLM, name, "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.lower().startswith("usage: ")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from toolkit.cli import run; run(['--help']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.splitlines()[-1].split())
    assert not loaded & {"papermill", "ipywidgets", "matplotlib", "litestar", "llama_cpp", "yaml"}


def test_a_reader_who_leaves_early_gets_no_traceback(akash_home: Path) -> None:
    listing = subprocess.Popen(
        [*AKASH_LLM, "sdl", "validate", "--json", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdin and listing.stdout and listing.stderr
    listing.stdout.close()
    listing.stdin.write(b"nothing: here\n")
    listing.stdin.close()
    told = listing.stderr.read()
    listing.stderr.close()
    assert listing.wait(30) == 1  # as click ends then
    assert told == b""


def test_a_system_that_refuses_is_told_in_one_line(
    akash_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    akash_home.parent.joinpath("file").write_text("")
    monkeypatch.setenv("AKASH_LLM_HOME", str(akash_home.parent / "file"))
    ended = subprocess.run([*AKASH_LLM, "plan"], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: ") and "Traceback" not in ended.stderr
    assert str(akash_home.parent / "file") in ended.stderr
