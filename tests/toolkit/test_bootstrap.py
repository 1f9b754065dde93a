"""The set-up of `.venv`, on a project so small that it needs no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"
[project.optional-dependencies]
a = []
b = []
"""

# A build backend that makes the least wheel there is. FAIL is a file that stops it.
BACKEND = """
import os, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with open("builds", "a") as file:
        file.write("x")
    if os.path.exists("FAIL"):
        raise SystemExit("the build went wrong")
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        metadata = "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n"
        metadata += "Provides-Extra: a\\nProvides-Extra: b\\n"
        wheel.writestr("small-1.dist-info/METADATA", metadata)
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    (folder / "toolkit").mkdir(parents=True)
    for name in ("bootstrap.py", "preflight.py"):
        shutil.copy(ROOT / "toolkit" / name, folder / "toolkit" / name)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "requirements.lock").write_text("")
    return folder


def start(project: Path, *extras: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(project / "toolkit" / "bootstrap.py"), *extras],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def set_up(project: Path, *extras: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of one set-up."""
    process = start(project, *extras)
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def builds(project: Path) -> int:
    """How often the project was installed."""
    path = project / "builds"
    return len(path.read_text()) if path.exists() else 0


def test_first_time_then_silence_then_only_what_changed(project: Path) -> None:
    code, out, error = set_up(project, "a")
    assert (code, error) == (0, "")
    assert "making .venv with Python" in out
    assert "llama.cpp is compiled for this machine" in out
    assert "\r" not in out
    python = project / ".venv" / "bin" / "python"
    show = [str(python), "-m", "pip", "show", "small"]
    assert subprocess.run(show, capture_output=True).returncode == 0

    assert set_up(project, "a") == (0, "", "")
    assert builds(project) == 1

    code, out, _ = set_up(project, "b")
    assert (code, builds(project)) == (0, 2)
    assert "making" not in out
    assert set_up(project, "a", "b") == (0, "", "")
    assert set_up(project, "a") == (0, "", "")

    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "[tool.ruff]\n")
    assert set_up(project, "a") == (0, "", "")
    (project / "requirements.lock").write_text("other==1\n")
    assert set_up(project, "a")[0] == 0
    assert builds(project) == 3
    stamp = json.loads((project / ".venv" / "set-up.json").read_text())
    assert stamp["extras"] == ["a", "b"]


def test_failure_shows_what_pip_said_and_is_tried_again(project: Path) -> None:
    (project / "FAIL").touch()
    code, _, error = set_up(project, "a")
    assert code != 0
    assert "the build went wrong" in error
    assert "set-up.log" in error
    assert "Traceback" not in error.rpartition("error: pip failed")[2]
    (project / "FAIL").unlink()
    assert set_up(project, "a")[0] == 0
    assert set_up(project, "a") == (0, "", "")


def test_two_at_once_do_it_once(project: Path) -> None:
    processes = [start(project, "a") for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert builds(project) == 1
    assert sum("waiting for another set-up" in output for output in outputs) == 1


def test_environment_of_a_clone_that_was_moved_is_made_anew(project: Path) -> None:
    assert set_up(project, "a")[0] == 0
    moved = project.rename(project.with_name("moved"))
    code, out, _ = set_up(moved, "a")
    assert code == 0
    assert "making .venv" in out
    pip = (moved / ".venv" / "bin" / "pip").read_text()
    assert str(moved) in pip


def test_nothing_begins_without_a_compiler(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    code, out, error = set_up(project, "a")
    assert code == 1
    assert "a C compiler" in error
    assert out == ""
    assert not (project / ".venv").exists()
