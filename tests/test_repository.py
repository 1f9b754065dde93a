"""The tree itself: style, types, arrows between modules, versions, notebooks, words."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CODE = ["server", "toolkit", "templates", "tests", "notebooks"]
MADE = {".git", ".venv", "__pycache__", "build", "dist", ".ipynb_checkpoints"}
Notebook = dict[str, Any]


def run(*command: str) -> None:
    """Run a tool of the environment in the root; what it printed is the failure."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def files() -> Iterator[Path]:
    """Every file of the tree that is not made by a tool."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in MADE and not name.endswith(("_cache", ".egg-info", ".hypothesis"))
        ]
        yield from (Path(folder) / name for name in names)


# -- tools


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", *CODE),
        ("ruff", "format", "--check", *CODE),
        ("mypy",),
        ("lint-imports", "--no-cache"),
        ("nbstripout", "--verify", *(str(path) for path in NOTEBOOKS)),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_tool_finds_nothing(command: tuple[str, ...]) -> None:
    run(*command)


def test_make_lint_runs_the_same_tools() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "nbstripout"):
        assert f".venv/bin/{tool}" in done.stdout


# -- versions


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
        return table


def direct_requirements() -> list[Requirement]:
    """What pyproject asks for, in the base and in every extra; not the project itself."""
    texts = [*project()["dependencies"]]
    for extra in project()["optional-dependencies"].values():
        texts += extra
    wanted = [Requirement(text) for text in texts]
    return [one for one in wanted if canonicalize_name(one.name) != project()["name"]]


def lock_lines() -> list[str]:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


def test_lock_holds_pins_and_nothing_else() -> None:
    """No index, no host, no path: what is installed from where is the user's business."""
    for line in lock_lines():
        pin = Requirement(line)
        assert pin.url is None, line
        assert [one.operator for one in pin.specifier] == ["=="], line


@pytest.mark.parametrize("wanted", direct_requirements(), ids=str)
def test_lock_pins_what_pyproject_asks_for(wanted: Requirement) -> None:
    pins = [Requirement(line) for line in lock_lines()]
    versions = [
        Version(next(iter(pin.specifier)).version)
        for pin in pins
        if canonicalize_name(pin.name) == canonicalize_name(wanted.name)
    ]
    assert versions, f"{wanted.name} is not in requirements.lock: run `make lock`"
    assert all(version in wanted.specifier for version in versions), versions


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_has_one_version_of_each_package(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    pins = [Requirement(line) for line in lock_lines()]
    names = [
        canonicalize_name(pin.name)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(environment)
    ]
    assert sorted(names) == sorted(set(names))


def test_conda_environment_adds_no_second_version() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-c requirements.lock", "-e .[server,notebook]"]}
    assert [name for name in conda if "=" in name] == ["python=3.11"]
    locked = {canonicalize_name(Requirement(line).name) for line in lock_lines()}
    assert not locked & {canonicalize_name(name.split("=")[0]) for name in conda}


# -- notebooks


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Notebook:
    loaded: Notebook = json.loads(request.param.read_text(encoding="utf-8"))
    return loaded


def code(notebook: Notebook) -> list[tuple[list[str], str]]:
    """Tags and source of each code cell."""
    return [
        (cell["metadata"].get("tags", []), "".join(cell["source"]))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_notebook_is_short(notebook: Notebook) -> None:
    assert len(notebook["cells"]) <= 15
    for tags, source in code(notebook):
        assert "parameters" in tags or len(source.splitlines()) <= 8, source


def test_notebook_defines_no_functions(notebook: Notebook) -> None:
    """What has a name and a body belongs into the toolkit, where it is tested."""
    for _, source in code(notebook):
        assert not re.search(r"^\s*(async\s+def|def|class)\s|\blambda\b", source, re.MULTILINE)


def test_notebook_begins_with_a_title(notebook: Notebook) -> None:
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    assert "".join(first["source"]).startswith("# ")


def test_notebook_has_one_cell_of_typed_commented_parameters(notebook: Notebook) -> None:
    (source,) = [source for tags, source in code(notebook) if "parameters" in tags]
    for line in filter(None, source.splitlines()):
        assert re.fullmatch(r"\w+: [\w\[\], |]+ = .+  # .+", line), line


def test_notebook_runs_in_the_plain_kernel(notebook: Notebook) -> None:
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)


def test_notebook_names_no_absolute_path(notebook: Notebook) -> None:
    for _, source in code(notebook):
        assert not re.search(r"""["'](/|~/|[A-Z]:\\)""", source), source


# -- words

# Written apart so that this file passes its own test.
FOREIGN = [
    r"pypi\." + "org",
    "python" + r"hosted\.org",
    "/opt/" + "pypi",
    "/" + "work/",
    "/tmp/" + r"w\b",
    "/root/" + r"\.",
    r"\bsub-?" + "agents?\\b",
]
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".lock", ".ipynb", ".j2", ".json"}
TEXT |= {".sh", ""}


def test_tree_names_no_registry_host_and_no_path_of_one_machine() -> None:
    pattern = re.compile("|".join(FOREIGN), re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        if path.suffix in TEXT
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_every_shipped_file_is_small() -> None:
    """Weights and build results do not belong into the tree."""
    large = [path for path in files() if path.stat().st_size > 2 << 20]
    assert large == []


def test_license_is_the_whole_apache_license() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


# -- system packages


def test_ci_installs_what_the_readme_names() -> None:
    """One list: .ci/run reads system-packages.txt, whose names the preflight says too."""
    listed = {
        line.split("#")[0].strip()
        for line in (ROOT / "system-packages.txt").read_text(encoding="utf-8").splitlines()
    } - {""}
    assert {"python3-venv", "build-essential", "chromium"} <= listed
    assert "system-packages.txt" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci/run", os.X_OK)
