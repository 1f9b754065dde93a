"""`--target compose` as people type it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.deploying import until
from tests.support.docker import FakeDocker
from tests.toolkit.deploy.test_commands import AKASH_LLM, akash_llm, rows
from toolkit import paths
from toolkit.deploy.base import Intent
from toolkit.deploy.docker.file import compose_file
from toolkit.deploy.keeper import Keeper


@pytest.fixture
async def plan_file(fake: FakeDocker, stocked_home: Path, intent: Intent, tmp_path: Path) -> str:
    """A plan as `akash-llm plan --out` writes it."""
    path = tmp_path / "plan.json"
    path.write_bytes((await Keeper().plan(intent)).to_json())
    return str(path)


def test_plan_deploy_status_logs_close(fake: FakeDocker, plan_file: str) -> None:
    done = akash_llm("deploy", "--target", "compose", "--plan", plan_file, "--json")
    (up,) = rows(done.stdout)
    assert (up["target"], up["state"], up["name"]) == ("compose", "ready", "my.own")
    assert "image" in done.stderr and "volume akash-llm-models-llama-cpp" in done.stderr
    (seen,) = rows(akash_llm("status", "--json").stdout)
    assert (seen["health"], seen["url"]) == ("ready", up["url"])
    assert "None" not in akash_llm("status", "my.own").stdout
    assert "agree" in akash_llm("doctor").stdout
    (line,) = rows(akash_llm("logs", "--tail", "1", "--json").stdout)
    assert line["line"]
    (closed,) = rows(akash_llm("close", "my.own", "--json").stdout)
    assert closed == {"name": "my.own", "state": "closed", "spend": None}
    assert fake.containers() == []
    assert rows(akash_llm("logs", "my.own", "--tail", "1", "--json").stdout) == [line]
    key = paths.key_file("my.own").read_text().strip()
    ledger = akash_llm("ledger", "--json").stdout
    assert key not in ledger + json.dumps(fake.calls()) + done.stderr


def test_a_plan_without_an_image_says_how_to_get_one(fake: FakeDocker, stocked_home: Path) -> None:
    done = akash_llm("plan", "--target", "compose", code=3)
    assert "make image" in done.stderr


def test_without_docker_it_ends_with_3_and_the_command(fake: FakeDocker, plan_file: str) -> None:
    fake.fault("down")
    done = akash_llm("deploy", "--plan", plan_file, "--yes", code=3)
    assert f"--file {compose_file('my.own')} up --detach" in done.stderr
    assert compose_file("my.own").exists()
    assert akash_llm("status", "--json").stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_program_that_is_ended_while_docker_starts_it(
    fake: FakeDocker, plan_file: str, number: signal.Signals
) -> None:
    """Interrupted it cleans up; killed it leaves a row that the doctor settles."""
    plan = json.loads(Path(plan_file).read_text())
    plan["intent"]["image"] = plan["intent"]["image"].replace(":good", ":never")
    plan["sdl"] = plan["sdl"].replace(":good", ":never")
    Path(plan_file).write_text(json.dumps(plan))
    command = [*AKASH_LLM, "deploy", "--plan", plan_file, "--yes"]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    await until(lambda: bool(fake.containers()))
    program.send_signal(number)
    program.communicate()
    (record,) = Keeper().ledger.records()
    if number is signal.SIGKILL:
        assert record.is_open and fake.containers()
        (finding,) = rows(akash_llm("doctor", "--json").stdout)
        assert (finding["name"], finding["target"]) == ("my.own", "compose")
    else:
        assert program.returncode == 130 and record.error == "interrupted"
    assert fake.containers() == [] and fake.networks() == []
    assert akash_llm("doctor", "--json").stdout == ""
