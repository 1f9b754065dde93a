"""The deploy notebook by papermill, rented from a simulated account: every way it can end."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.console.ingress import Ingress
from tests.support.console.rented import CANARY
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RunResult

WANTED = {
    "target": "console",
    "name": "rented",
    "image": "example.org/akash-llm-server:1",
    "max_usd_per_hour": 1.0,
    "runtime_hours": 2.0,
}


async def deploy(**parameters: object) -> RunResult:
    return await run_notebook("04_deploy", {**WANTED, **parameters})


def open_ones(world: World) -> int:
    return sum(each.is_active for each in world.deployments.values())


@pytest.mark.goal(8)
async def test_it_rents_and_answers_and_closes(
    server: ConsoleServer, ingress: Ingress, world: World, akash_home: Path
) -> None:
    result = await deploy(keep=False, sealed=["HF_TOKEN"])
    assert (result.exit_code, result.error) == (0, None)
    assert result.scraps["url"] == f"https://{ingress.address}"
    assert open_ones(world) == 0 and len(world.deployments) == 1
    _assert_nowhere(akash_home, CANARY, server.key)


@pytest.mark.goal(8)
async def test_kept_it_is_adopted_and_not_paid_twice(
    server: ConsoleServer, ingress: Ingress, world: World
) -> None:
    first, second = await deploy(), await deploy()
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert server.count("POST", "/v1/deployments") == 1 and open_ones(world) == 1


@pytest.mark.goal(8)
async def test_a_key_that_is_refused_is_4(server: ConsoleServer, ingress: Ingress) -> None:
    server.key += "0"
    assert (await deploy()).exit_code == 4


@pytest.mark.goal(8)
async def test_no_bids_are_5(server: ConsoleServer, ingress: Ingress, world: World) -> None:
    world.hosts.clear()
    assert (await deploy()).exit_code == 5
    assert open_ones(world) == 0


@pytest.mark.goal(8)
async def test_a_model_that_does_not_come_in_time_is_6(
    server: ConsoleServer, ingress: Ingress, world: World
) -> None:
    ingress.is_loading = True
    result = await deploy(deadline_s=6.0)
    assert result.exit_code == 6
    assert result.error is not None and "model" in result.error.message
    assert open_ones(world) == 0


@pytest.mark.goal(8)
async def test_providers_that_fail_are_7(
    server: ConsoleServer, ingress: Ingress, world: World
) -> None:
    world.deaf |= set(world.hosts)
    result = await deploy()
    assert result.exit_code == 7
    assert result.error is not None and "manifest" in result.error.message
    assert open_ones(world) == 0


@pytest.mark.parametrize("cause", ["no limit", "no money"])
@pytest.mark.goal(8)
async def test_money_is_9(
    server: ConsoleServer, ingress: Ingress, world: World, cause: str
) -> None:
    if cause == "no money":
        world.balance = Decimal(0)
    result = await deploy(runtime_hours=None if cause == "no limit" else 2.0)
    assert result.exit_code == 9
    assert not world.deployments


def _assert_nowhere(home: Path, *secrets: str) -> None:
    """None of them is in any file of the home: ledger, logs, notebooks, results."""
    files = [path for path in home.rglob("*") if path.is_file() and "models" not in path.parts]
    assert any(path.name == "result.json" for path in files)
    for path in files:
        data = path.read_bytes()
        assert not [s for s in secrets if s.encode() in data], path
    assert json.loads(next(p for p in files if p.name == "result.json").read_text())
