"""What `make` does in a clone where nothing is set up yet."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / "toolkit").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("bootstrap.py", "preflight.py"):
        shutil.copy(ROOT / "toolkit" / name, folder / "toolkit")
    return folder


def make(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make there, as from a shell and not from the make that runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
    )


def test_help_lists_the_commands(clone: Path) -> None:
    done = make(clone)
    assert done.returncode == 0
    for command in ("start", "test", "engines", "lab", "web", "docs", "stop", "lint"):
        assert f"make {command} " in done.stdout


def test_stop_is_silent_about_what_never_ran(clone: Path) -> None:
    done = make(clone, "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing runs" in done.stdout


def test_tests_do_not_begin_without_chromium(clone: Path) -> None:
    done = make(clone, "test", CHROMIUM="/nowhere/chromium")
    assert done.returncode != 0
    assert "Chromium" in done.stderr
    assert "install" in done.stderr.lower()
    assert " chromium\n" in done.stderr
    assert not (clone / ".venv").exists()


def test_start_ends_at_once_where_python_is_too_old(clone: Path) -> None:
    preflight = clone / "toolkit" / "preflight.py"
    text = preflight.read_text(encoding="utf-8")
    preflight.write_text(text.replace("OLDEST = (3, 11)", "OLDEST = (99, 0)"), encoding="utf-8")
    done = make(clone, "start")
    assert done.returncode != 0
    assert "Python 3.11 or newer: this is 3." in done.stderr
    assert not (clone / ".venv").exists()


def test_prompt_reaches_the_command_as_it_is_written(clone: Path) -> None:
    """Quotes and shell syntax in PROMPT are text."""
    program = clone / ".venv" / "bin" / "akash-llm"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    (clone / "toolkit" / "bootstrap.py").write_text("")
    prompt = """it's "so": `ls` $$HOME; exit 1"""
    done = make(clone, "start", f"PROMPT={prompt}")
    assert done.returncode == 0, done.stderr
    shown = prompt.replace("$$", "$")
    assert f"chat|local|--once|{shown}|" in done.stdout
    assert f"> {shown}\n" in done.stdout
