"""`akash-llm up` and its like, as programs, with the real server and its small model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.keys import digest
from tests.support.deploying import until
from toolkit import paths
from toolkit.deploy import processes
from toolkit.deploy.keeper import Keeper

SMALL = ("--context", "256", "--parallel", "1")
AKASH_LLM = [sys.executable, "-m", "toolkit"]


def akash_llm(
    *arguments: str, code: int = 0, stdin: str = "", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AKASH_LLM_HOME": str(home or paths.home())}
    done = subprocess.run(
        [*AKASH_LLM, *arguments], capture_output=True, text=True, input=stdin, env=environment
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def nothing_left(stocked_home: Path) -> Any:
    yield
    akash_llm("down", "--all")


def test_up_status_logs_down() -> None:
    (up,) = rows(akash_llm("up", *SMALL, "--json").stdout)
    assert set(up) >= {"name", "url", "key_file", "model"}
    assert up["name"] == "local" and up["key_file"] == str(paths.key_file("local"))
    (again,) = rows(akash_llm("up", *SMALL, "--json").stdout)
    assert again == up
    (seen,) = rows(akash_llm("status", "--json").stdout)
    assert {key: seen[key] for key in ("name", "url", "key_file")} == {
        key: up[key] for key in ("name", "url", "key_file")
    }
    assert (seen["health"], seen["state"]) == ("ready", "ready")
    table = akash_llm("status", "local").stdout
    assert up["url"] in table and "ready" in table
    assert rows(akash_llm("logs", "--tail", "1", "--json").stdout)[0]["line"]
    assert "agree" in akash_llm("doctor").stdout
    (down,) = rows(akash_llm("down", "--json").stdout)
    assert down == {"name": "local", "state": "closed", "spend": None}
    assert akash_llm("down", "--json").stdout == ""
    assert "nothing is open" in akash_llm("down").stdout
    (row,) = rows(akash_llm("ledger", "--json").stdout)
    assert (row["state"], row["error"]) == ("closed", None)
    key = paths.key_file("local").read_text().strip()
    log = Path(row["handle"]["log"]).read_text()
    assert key not in log + json.dumps(row) and digest(key) in row["sdl"]


def test_a_watch_closes_what_has_ended_by_itself() -> None:
    akash_llm("up", *SMALL)
    (record,) = Keeper().ledger.open_records()
    for process in processes.marked()[record.uid]:
        process.kill()
    said = akash_llm("status", "--watch", "--every", "1").stdout
    assert "local is closed: it had ended by itself" in said and "nothing is open" in said
    assert akash_llm("down").stdout == "nothing is open\n"


def test_a_plan_can_be_kept_and_deployed_later(tmp_path: Path) -> None:
    (plan,) = rows(akash_llm("plan", *SMALL, "--json").stdout)
    assert (plan["schema"], plan["action"]) == (1, "create")
    assert set(plan["price"]) == {"usd_per_hour", "usd_per_day", "usd_per_month"}
    assert akash_llm("status", "--json").stdout == ""
    file = tmp_path / "plan.json"
    akash_llm("plan", *SMALL, "--out", str(file))
    (opened,) = rows(akash_llm("deploy", "--plan", str(file), "--yes", "--json").stdout)
    assert opened["state"] == "ready"
    (again,) = rows(akash_llm("plan", *SMALL, "--json").stdout)
    assert again["action"] == "adopt"


def test_a_plan_that_was_tampered_with_runs_nothing_else(tmp_path: Path) -> None:
    (plan,) = rows(akash_llm("plan", *SMALL, "--json").stdout)
    plan["sdl"] = plan["sdl"].replace("akash-llm-server:", "miner:")
    done = akash_llm("deploy", "--plan", "-", "--yes", stdin=json.dumps(plan), code=3)
    assert "not known on this machine" in done.stderr
    plan["intent"]["name"] = "../../up"
    done = akash_llm("deploy", "--plan", "-", "--yes", stdin=json.dumps(plan), code=2)
    assert "cannot name an endpoint" in done.stderr
    assert Keeper().ledger.open_records() == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("up", "unheard-of:1b"), 3, "models list"),
        (("up", "--name", "../up"), 2, "cannot name an endpoint"),
        (("up", "--context", "0"), 2, "at least 1"),
        (("status", "nobody"), 2, "akash-llm up"),
        (("logs", "nobody"), 2, "ever opened"),
        (("plan", "--target", "moon"), 2, "moon"),
        (("deploy", "--plan", "-"), 2, "not a plan"),
    ],
)
def test_mistakes_end_in_one_message(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = akash_llm(*arguments, code=code, stdin="{}")
    assert message in done.stderr
    assert Keeper().ledger.open_records() == []


@pytest.mark.parametrize(
    "arguments", [("up",), ("plan",), ("notebook", "run", "01_start"), ("ledger",), ("status",)]
)
def test_a_home_that_cannot_be_written(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    only_looks = arguments in {("ledger",), ("status",)}
    done = akash_llm(*arguments, code=0 if only_looks else 3, home=tmp_path / "file" / "home")
    assert only_looks or "AKASH_LLM_HOME" in done.stderr


async def _killed(number: signal.Signals) -> subprocess.Popen[str]:
    program = subprocess.Popen([*AKASH_LLM, "up", *SMALL], stderr=subprocess.PIPE, text=True)
    ledger = Keeper().ledger
    await until(lambda: any("log" in record.handle for record in ledger.open_records()))
    program.send_signal(number)
    program.communicate()
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_leaves_nothing(number: signal.Signals) -> None:
    program = await _killed(number)
    assert program.returncode == 130
    (record,) = Keeper().ledger.records()
    assert (record.is_open, record.error) == (False, "interrupted")
    assert processes.marked(record.uid) == {}


async def test_killed_it_leaves_a_row_and_the_doctor_settles_it() -> None:
    await _killed(signal.SIGKILL)
    (record,) = Keeper().ledger.open_records()
    (finding,) = rows(akash_llm("doctor", "--dry-run", "--json").stdout)
    assert (finding["name"], finding["settled"]) == ("local", False)
    assert Keeper().ledger.open_records() == [record]
    (finding,) = rows(akash_llm("doctor", "--json").stdout)
    assert finding["settled"]
    assert akash_llm("doctor", "--json").stdout == ""
    assert processes.marked(record.uid) == {}


async def test_a_killed_server_takes_its_runner_along_when_closed() -> None:
    (up,) = rows(akash_llm("up", *SMALL, "--json").stdout)
    (record,) = Keeper().ledger.open_records()
    family = processes.marked(record.uid)[record.uid]
    assert len(family) >= 2, "the server and the runner of its model"
    psutil.Process(int(record.handle["pid"])).kill()
    akash_llm("down", str(up["name"]))
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_help_is_quick_to_import() -> None:
    code = "import sys, toolkit.cli; sys.exit(any(m in sys.modules for m in ('msgspec', 'psutil')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
