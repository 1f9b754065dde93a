"""The check of the machine, run as `make` does: a file, by a bare Python."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFLIGHT = ROOT / "toolkit" / "preflight.py"


def check(*checks: str, programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it where PATH is one folder and nothing else is set."""
    return subprocess.run(
        [sys.executable, "-I", str(PREFLIGHT), *checks],
        env={"PATH": str(programs), **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs: apt-get, and what a test adds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    add_program(folder, "apt-get")
    return folder


def add_program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_all_there(programs: Path) -> None:
    for name in ("gcc", "clang++", "make", "google-chrome", "node", "npm"):
        add_program(programs, name)
    done = check("version", "venv", "compilers", "space", "browser", "node", programs=programs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_everything_that_is_missing_and_the_line_that_installs_it(programs: Path) -> None:
    done = check("version", "venv", "compilers", "browser", "node", programs=programs)
    assert done.returncode == 1
    for what in ("a C compiler", "a C++ compiler", "make", "Chromium", "Node.js", "npm"):
        assert f"  {what}\n" in done.stderr
    sudo = "" if os.geteuid() == 0 else "sudo "
    packages = "build-essential chromium nodejs npm"
    assert done.stderr.endswith(f"  {sudo}apt-get install -y {packages}\n")


def test_packages_are_named_where_there_is_no_apt(programs: Path) -> None:
    (programs / "apt-get").unlink()
    done = check("browser", programs=programs)
    assert "apt-get" not in done.stderr
    assert "chromium" in done.stderr


def test_compilers_and_browser_may_be_named(programs: Path, tmp_path: Path) -> None:
    add_program(tmp_path, "mine")
    mine = str(tmp_path / "mine")
    add_program(programs, "make")
    done = check("compilers", programs=programs, CC=f"{mine} -m64", CXX=mine)
    assert done.returncode == 0
    assert check("browser", programs=programs, CHROMIUM=mine).returncode == 0
    add_program(programs, "chromium")
    assert check("browser", programs=programs, CHROMIUM=f"{mine}-gone").returncode == 1


def test_unknown_check_is_a_mistake(programs: Path) -> None:
    assert check("weather", programs=programs).returncode == 2
    assert check(programs=programs).returncode == 2


def test_old_python_can_read_it() -> None:
    """It says that Python is too old, so it must parse there: 3.8 here."""
    ast.parse(PREFLIGHT.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_missing_space_and_old_python_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit import preflight

    monkeypatch.setattr(preflight, "OLDEST", (99, 0))
    monkeypatch.setattr(preflight, "SPACE_BYTES", 1 << 62)
    report = preflight.report(preflight.check_version() + preflight.check_space())
    assert "Python 3.11 or newer: this is 3." in report
    assert "disk space in" in report
    assert "-> free some space" in report
    assert "apt-get" not in report
