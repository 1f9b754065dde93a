"""`akash-llm` with an engine behind the real server: a program in the place of vLLM."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.deploying import until
from tests.support.pairs import install_vllm, pair_sdl
from tests.support.ports import occupied
from toolkit import paths
from toolkit.deploy import keyfile, members
from toolkit.deploy.base import Intent, Plan, Price
from toolkit.deploy.keeper import Keeper

AKASH_LLM = [sys.executable, "-m", "toolkit"]
MODEL = "org/m"


def akash_llm(*arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*AKASH_LLM, *arguments], capture_output=True, text=True, input=stdin)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def no_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's engines is found; nothing is left running."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    yield
    akash_llm("down", "--all")


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """A vLLM on PATH."""
    return install_vllm(tmp_path / "bin")


def plan_of(model: str = MODEL) -> str:
    keys = keyfile.as_digests(keyfile.ensure(paths.key_file("mine")))
    made = Plan(
        intent=Intent(name="mine", engine="vllm", model=model, context=512, parallel=2),
        resources=(),
        price=Price.of_hour(Decimal(0)),
        worst_case_usd=Decimal(0),
        limits=(),
        privacy=(),
        sdl=pair_sdl("vllm", model=model, keys=keys, gateway="akash-llm-gateway:1"),
    )
    return made.to_json().decode()


def deployed() -> dict[str, Any]:
    (row,) = rows(akash_llm("deploy", "--plan", "-", "--yes", "--json", stdin=plan_of()).stdout)
    return row


def table() -> list[list[str]]:
    return [line.split() for line in akash_llm("status", "mine").stdout.splitlines()]


@pytest.mark.usefixtures("vllm")
async def test_deploy_ask_lose_the_engine_and_get_it_back() -> None:
    with occupied(11434):  # so that its address is not the one that it would have anyhow
        row = deployed()
    assert (row["model"], row["engine"], row["state"]) == (MODEL, "vllm", "ready")
    said = akash_llm("chat", "mine", "--once", "⟦Hello there⟧").stdout
    assert "Hello there" in said
    assert [line[:1] for line in table()[1:]] == [["mine"], ["server"], ["engine"]]
    (line,) = rows(akash_llm("logs", "mine", "--service", "engine", "--json").stdout)[:1]
    assert line["line"] == f"serving {MODEL}"

    keeper = Keeper()
    record = keeper.record("mine")
    psutil.Process(int(record.handle["engine_pid"])).kill()
    await until(lambda: "engine" not in members.living(record))
    assert "its engine has ended" in akash_llm("status", "mine").stdout
    again = deployed()
    assert (again["url"], again["state"]) == (row["url"], "ready")
    assert "Back" in akash_llm("chat", "mine", "--once", "⟦Back⟧").stdout
    assert len(keeper.ledger.records()) == 1
    assert members.living(keeper.record("mine")).keys() == {"server", "engine"}
    akash_llm("down", "mine")
    assert members.living(record) == {}


@pytest.mark.usefixtures("vllm")
def test_up_with_an_engine() -> None:
    options = ("--engine", "vllm", "--model", MODEL, "--context", "512", "--json")
    (up,) = rows(akash_llm("up", *options).stdout)
    assert (up["name"], up["model"], up["engine"]) == ("local", MODEL, "vllm")
    (again,) = rows(akash_llm("up", *options).stdout)
    assert again == up
    (plan,) = rows(akash_llm("plan", *options).stdout)
    assert plan["action"] == "adopt"
    assert "Hello" in akash_llm("chat", "--once", "⟦Hello⟧").stdout


def test_the_notebook_with_an_engine(vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("AKASH_LLM_VLLM", str(vllm))
    options = ("-p", "engine=vllm", "-p", f"model={MODEL}", "-p", "context=512", "--json")
    (*_, result) = rows(akash_llm("notebook", "run", "04_deploy", *options).stdout)
    assert (result["status"], result["scraps"]["model"]) == ("ok", MODEL)
    assert result["scraps"]["stats"]["output_tokens"] > 0


@pytest.mark.parametrize("engine", ["vllm", "ollama"])
def test_an_engine_that_is_not_here_says_how_to_get_it(engine: str) -> None:
    done = akash_llm("up", "--engine", engine, "--model", "org/m", code=3)
    assert f"{engine} is not installed here" in done.stderr
    for step in {"vllm": ("pip install", "make engines"), "ollama": ("ollama.com",)}[engine]:
        assert step in done.stderr
    assert f"AKASH_LLM_{engine.upper()}=" in done.stderr
    assert Keeper().ledger.records() == []


def test_a_setting_that_names_no_program(monkeypatch: pytest.MonkeyPatch, vllm: Path) -> None:
    monkeypatch.setenv("AKASH_LLM_VLLM", str(vllm.with_name("vllm-of-old")))
    done = akash_llm("up", "--engine", "vllm", "--model", "org/m", code=3)
    assert "AKASH_LLM_VLLM names" in done.stderr


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "vllm"), "smollm2:135m"),
        (("--engine", "vllm", "--model", "./nowhere"), "neither a name"),
        (("org/m", "--model", "org/other"), "two models"),
        (("--engine", "abacus"), "abacus"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str) -> None:
    assert message in akash_llm("up", *arguments, code=2).stderr
    assert Keeper().ledger.open_records() == []


def test_a_row_from_before_there_were_engines_is_read(stocked_home: Path) -> None:
    """What an older version has noted of one process, and an intent without an engine."""
    keeper = Keeper()
    record = keeper.ledger.open(Intent(name="old"), sdl="")
    values: dict[str, str | int | float]
    values = {"pid": os.getpid() + 1_000_000, "started_at": 1.0, "port": 1, "log": "/nowhere"}
    keeper.ledger.note(record.uid, url="http://127.0.0.1:1", handle=values)
    (seen,) = rows(akash_llm("status", "old", "--json").stdout)
    assert (seen["engine"], seen["health"]) == ("llama-cpp", "gone")
    assert [part["service"] for part in seen["parts"]] == ["server"]
    assert akash_llm("logs", "old").stdout == ""
    assert keeper.record("old").served_model == "smollm2:135m"
