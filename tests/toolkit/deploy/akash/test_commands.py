"""The commands against a rented endpoint, as a person types them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console import renting
from tests.support.console.commands import Commands
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.table import usd

CAPS = ("--max-usd-per-hour", "1", "--runtime-hours", "2")
IMAGE = ("--image", "example.org/akash-llm-server:1")
RENT = ("--target", "console", "--name", "mine", *IMAGE, *CAPS)


@pytest.fixture(autouse=True)
def account(
    server: ConsoleServer,
    ingress: Ingress,
    stocked_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    renting.announce(server, monkeypatch)
    yield


@pytest.fixture
def akash(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def test_the_program_itself(world: World) -> None:
    """Once as a program of its own."""
    argv = [sys.executable, "-m", "toolkit", "deploy", *RENT, "--yes", "--json"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert json.loads(done.stdout)["state"] == "ready" and len(world.deployments) == 1


def test_rent_look_change_close(akash: Commands, world: World, ingress: Ingress) -> None:
    plan = json.loads(akash("plan", *RENT, "--json"))
    assert plan["intent"]["max_usd_per_hour"] == "1" and plan["worst_case_usd"]

    opened = json.loads(akash("deploy", *RENT, "--yes", "--json"))
    assert opened["url"] == f"https://{ingress.address}"

    status = json.loads(akash("status", "mine", "--json"))
    assert status["health"] == "ready" and status["spend"]["ends_at"]
    assert "$" in akash("status")

    bids = [json.loads(line) for line in akash("bids", "mine", "--json").splitlines()]
    assert {bid["provider"] for bid in bids} == set(world.hosts)

    other = "example.org/akash-llm-server:2"
    changed = ("update", "mine", "--image", other, "--yes", "--json")
    assert json.loads(akash(*changed))["url"] == opened["url"]
    assert len(world.deployments) == 1

    assert "agree" in akash("doctor")
    world.advance(10)
    before = world.balance
    said = akash("close", "mine")
    back = usd((world.balance - before) / 1_000_000)
    assert said.startswith("mine is closed; it cost $") and world.balance > before
    assert said.endswith(f"and {back} of what was set aside came back\n")
    (row,) = [json.loads(line) for line in akash("ledger", "--json").splitlines()]
    (there,) = world.deployments.values()
    assert float(row["spend"]["spent_usd"]) == float(there.purse.paid) / 1e6 > 0
    assert "in all $" in akash("ledger")


def test_a_benchmark_is_priced_by_the_lease_and_says_where_it_runs(
    akash: Commands, world: World
) -> None:
    akash("deploy", *RENT, "--yes")
    price = json.loads(akash("status", "mine", "--json"))["spend"]["usd_per_hour"]
    short = ("--concurrency", "1", "--requests", "2", "--output-tokens", "4")
    result = json.loads(akash("bench", "run", "mine", *short, "--json"))
    assert result["config"]["usd_per_hour"] == pytest.approx(float(price)) and float(price) > 0
    assert result["summaries"][0]["usd_per_million_tokens"] > 0
    assert result["subject"]["provider"] in world.hosts
    assert result["subject"]["target"] == "console"
    given = ("bench", "run", "mine", *short, "--usd-per-hour", "2", "--json")
    assert json.loads(akash(*given))["config"]["usd_per_hour"] == 2


def test_a_watch_ends_what_has_cost_enough(akash: Commands, world: World) -> None:
    akash("deploy", *RENT, "--max-usd-total", "0.01", "--yes")
    (there,) = world.deployments.values()
    world.advance(60)
    there.purse.settle(world.height)
    assert "allowed in all" in akash("status", "--watch", "--every", "1")
    assert not there.is_active


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("deploy", *RENT[:-2], "--yes"), 9, "nothing is deployed"),
        (("plan", "--target", "console", *CAPS), 3, "image"),
        (("deploy", *RENT, "--max-usd-per-hour", "0", "--yes"), 2, "more than nothing"),
        (("bids",), 2, "no endpoint"),
        (("update", "mine"), 2, "no endpoint"),
    ],
)
def test_what_cannot_be_meant(
    akash: Commands, argv: tuple[str, ...], code: int, words: str
) -> None:
    assert words in akash(*argv, code=code)
    assert Keeper().ledger.records() == []


def test_without_a_key_one_is_told_where_to_get_it(
    akash: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKASH_API_KEY")
    assert "console.akash.network" in akash("deploy", *RENT, "--yes", code=4)
