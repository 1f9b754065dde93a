"""The examples for schedulers: what they say is what the program takes, and the script runs."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from toolkit import paths
from toolkit.automation.params import check_parameters, find_notebook
from toolkit.cli import cli
from toolkit.deploy.base import State
from toolkit.deploy.keeper import Keeper

EXAMPLES = paths.templates() / "automation"
WORKFLOW = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
STEPS = WORKFLOW["jobs"]["measure"]["steps"]


def commands() -> Iterator[str]:
    """Every call of our program in the examples."""
    steps = "\n".join(step.get("run", "") for step in STEPS)
    texts = [(EXAMPLES / name).read_text() for name in ("crontab", "nightly.sh")]
    texts = [text.replace("\\\n", " ") for text in texts]
    for line in "\n".join([*texts, steps]).splitlines():
        if not line.lstrip().startswith("#") and (found := re.search(r"akash-llm [a-z].*", line)):
            yield re.split(r"&&|\|\||\||>>|;", found.group())[0]


def test_there_are_some() -> None:
    assert len(list(commands())) == 5


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_is_one(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="akash-llm")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    options = {each for one in command.params for each in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize(
    ("notebook", "file"), [("04_deploy", "endpoint.yaml"), ("06_benchmark", "benchmark.yaml")]
)
def test_the_parameters_are_those_of_the_notebook(notebook: str, file: str) -> None:
    values = yaml.safe_load((EXAMPLES / file).read_text())
    assert check_parameters(find_notebook(notebook), {}, values) == values


def test_no_secret_is_written_down() -> None:
    environment = WORKFLOW["jobs"]["measure"]["env"]
    assert environment["AKASH_API_KEY"] == "${{ secrets.AKASH_API_KEY }}"


def test_cron_reads_the_table() -> None:
    lines = [
        line
        for line in (EXAMPLES / "crontab").read_text().splitlines()
        if line and not line.startswith("#") and "=" not in line.split()[0]
    ]
    assert len(lines) == 2
    for line in lines:
        assert all(re.fullmatch(r"[\d*/,-]+", field) for field in line.split()[:5])
        assert "%" not in line  # cron ends the line there


def test_the_script_opens_measures_and_ends(stocked_home: Path, tmp_path: Path) -> None:
    small = {"context": 512, "parallel": 1}
    (tmp_path / "endpoint.yaml").write_text(yaml.safe_dump({"target": "local", **small}))
    brief: dict[str, object] = {
        "name": "nightly",
        "concurrency": [1],
        "requests": 1,
        "output_tokens": 4,
    }
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "RUNS": str(tmp_path / "runs")}

    def nightly() -> subprocess.CompletedProcess[str]:
        argv = ["sh", str(EXAMPLES / "nightly.sh")]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)

    (tmp_path / "benchmark.yaml").write_text("concurrency: [0]\n")
    assert nightly().returncode == 2  # and the endpoint is closed
    assert [record.state for record in Keeper().ledger.records()] == [State.CLOSED]
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(brief))
    first = nightly()
    assert first.returncode == 0, first.stderr
    (day,) = (tmp_path / "runs").iterdir()
    assert (day / "benchmark" / "06_benchmark.html").exists()
    assert Keeper().ledger.open_records() == []
    again = nightly()
    assert again.returncode == 0, again.stderr
    assert len(Keeper().ledger.records()) == 2  # nothing was opened a second time


def test_the_script_closes_what_it_opened_also_when_it_is_ended(tmp_path: Path) -> None:
    """With a program that only notes what it is called with."""
    bin_folder, calls = tmp_path / "bin", tmp_path / "calls"
    bin_folder.mkdir()
    program = bin_folder / "akash-llm"
    program.write_text(
        '#!/bin/sh\necho "$1 $2" >> "$CALLS"\n'
        '[ "$3" = 06_benchmark ] && { kill -TERM "$PPID"; sleep 1; }\nexit 0\n'
    )
    program.chmod(0o755)
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "RUNS": str(tmp_path / "runs"),
        "HOME": str(tmp_path),
    }
    argv = ["sh", str(EXAMPLES / "nightly.sh")]
    done = subprocess.run(argv, cwd=tmp_path, env=environment)
    assert done.returncode == 143
    assert calls.read_text().splitlines()[-1] == "close nightly"
    assert not list(tmp_path.glob("runs/*/done"))
