"""Who has agreed to what: saved plans after the world has changed, `--yes`, and what is missing."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.support.console import renting
from tests.support.console.commands import Commands
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from toolkit.deploy import lifecycle
from toolkit.deploy.base import Plan
from toolkit.deploy.keeper import Keeper
from toolkit.errors import BudgetError

CAPS = ("--max-usd-per-hour", "0.10", "--runtime-hours", "1")
IMAGE, OTHER = ("example.org/akash-llm-server:1", "example.org/akash-llm-server:2")
RENT = ("--target", "console", "--name", "mine", *CAPS)
FIRST = (*RENT, "--image", IMAGE)
CREATE = ("POST", "/v1/deployments")


@pytest.fixture
def world() -> World:
    return World(hosts=renting.hosts(100, 110, 120))


@pytest.fixture(autouse=True)
def account(
    server: ConsoleServer, ingress: Ingress, stocked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renting.announce(server, monkeypatch)


@pytest.fixture
def akash(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.fixture
def saved(akash: Commands, tmp_path: Path) -> str:
    """A plan for a name that does not exist yet."""
    file = tmp_path / "plan.json"
    akash("plan", *FIRST, "--out", str(file))
    return str(file)


def test_a_plan_is_deployed_as_it_was_saved(akash: Commands, saved: str, world: World) -> None:
    akash("deploy", "--plan", saved, "--yes")
    (there,) = world.deployments.values()
    assert there.sdl_text == Plan.from_json(Path(saved).read_bytes()).sdl


def test_an_account_that_is_empty_since(
    akash: Commands, saved: str, world: World, server: ConsoleServer
) -> None:
    world.balance = Decimal(0)
    assert "The account holds $0" in akash("deploy", "--plan", saved, "--yes", code=9)
    assert server.count(*CREATE) == 0 and Keeper().ledger.records() == []


def test_a_name_that_exists_since(akash: Commands, saved: str, world: World) -> None:
    """Not even with --replace: the plan did not say that something ends."""
    akash("deploy", *RENT, "--image", OTHER, "--yes")
    said = akash("deploy", "--plan", saved, "--replace", "--yes", code=2)
    assert "it would change the endpoint of that name in place" in said and OTHER in said
    (there,) = world.deployments.values()
    assert there.sdl.services["llm"].image == OTHER


def test_what_is_there_since_and_fits_is_adopted(
    akash: Commands, saved: str, server: ConsoleServer
) -> None:
    akash("deploy", *FIRST, "--yes")
    akash("deploy", "--plan", saved)  # nothing to agree to
    assert server.count(*CREATE) == 1


def test_what_was_to_be_adopted_and_is_gone(
    akash: Commands, saved: str, server: ConsoleServer
) -> None:
    akash("deploy", *FIRST, "--yes")
    akash("plan", *FIRST, "--out", saved)
    akash("close", "mine")
    assert "it would start a new endpoint" in akash("deploy", "--plan", saved, "--yes", code=2)
    assert server.count(*CREATE) == 1


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsoleServer]:
    """Another Console, whose least deposit is more than the newer one's worst case."""
    world = World(hosts=renting.hosts(100), generation=Generation.OLDER)
    with ConsoleServer(world, blocks_per_look=1) as server:
        yield server


@pytest.mark.goal(5)
def test_a_worst_case_that_is_worse_since(
    akash: Commands, saved: str, older: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    renting.announce(older, monkeypatch)
    said = akash("deploy", "--plan", saved, "--yes", code=9)
    assert "could cost $0.50 at most, and the plan said $0.10 at most" in said
    assert older.count(*CREATE) == 0


async def test_a_notebook_that_goes_on_with_an_old_plan(saved: str, world: World) -> None:
    plan = Plan.from_json(Path(saved).read_bytes())
    world.balance = Decimal(0)
    with pytest.raises(BudgetError, match="not as it was planned"):
        await lifecycle.deploy(plan)
    plan = msgspec.structs.replace(plan, missing=(await Keeper().plan(plan.intent)).missing)
    with pytest.raises(BudgetError, match="add"):
        await lifecycle.deploy(plan)
    assert Keeper().ledger.records() == []


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("command", ["deploy", "update"])
def test_with_nobody_there_only_yes_agrees(
    akash: Commands, server: ConsoleServer, world: World, command: str, form: tuple[str, ...]
) -> None:
    if command == "update":
        akash("deploy", *FIRST, "--yes")
    argv = {"deploy": FIRST, "update": ("mine", "--image", OTHER)}[command]
    assert "--yes" in akash(command, *argv, *form, code=2)
    assert server.count(*CREATE) == (command == "update")
    assert [each.sdl.services["llm"].image for each in world.deployments.values()] in ([], [IMAGE])


@pytest.mark.parametrize(
    ("answer", "code", "image"), [("n\n", 130, OTHER), ("y\n", 0, IMAGE)], ids=["no", "yes"]
)
def test_who_is_there_is_asked_again(
    akash: Commands, saved: str, world: World, answer: str, code: int, image: str
) -> None:
    """At a terminal, as a program; `--json` asks, too."""
    akash("deploy", *RENT, "--image", OTHER, "--yes")
    ours, its = pty.openpty()
    argv = [sys.executable, "-m", "toolkit", "deploy", "--plan", saved, "--replace", "--json"]
    with subprocess.Popen(argv, stdin=its, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        os.close(its)
        os.write(ours, answer.encode())
        _, said = asked.communicate()
    os.close(ours)
    assert asked.returncode == code, said
    assert b"Not as it was planned" in said and b"Go ahead?" in said
    (there,) = world.deployments.values()
    assert there.sdl.services["llm"].image == image
