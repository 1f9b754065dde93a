"""The deploy panel over a simulated account, and over Docker: money, Stop, what is left."""

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import docker
from tests.support.console import renting
from tests.support.console.ingress import Ingress
from tests.support.console.rented import CANARY
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from tests.support.docker import FakeDocker
from tests.support.panels import buttons, fields, shown, state, until
from toolkit import paths
from toolkit.deploy.compose import ComposeTarget
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger
from toolkit.deploy.table import usd
from toolkit.errors import CapacityError
from toolkit.widgets.deploy import DeployPanel

AGREE = "Deploy, at most $2.00"


@pytest.fixture
async def panel(server: ConsoleServer, ingress: Ingress) -> DeployPanel:
    panel = DeployPanel(target="console", name="rented")
    said = {
        "Image": "example.org/akash-llm-server:1",
        "Most $ per hour": "$1",
        "Hours": "2",
        "Sealed variables": "HF_TOKEN",
    }
    for field, value in said.items():
        fields(panel)[field].value = value
    return panel


async def sees(panel: DeployPanel, *texts: str) -> None:
    await until(lambda: all(text in shown(panel) for text in texts), lambda: shown(panel))


async def click(panel: DeployPanel, name: str) -> None:
    await until(lambda: name in buttons(panel), lambda: f"{list(buttons(panel))} {shown(panel)}")
    buttons(panel)[name].click()


async def closing(panel: DeployPanel, cost: str = "") -> str:
    """The button that ends it, once it can be clicked: it names the cost."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [name for name in buttons(panel) if name.startswith(f"Close it now, {cost}")]
        return bool(found)

    await until(is_there, lambda: str(list(buttons(panel))))
    return found[0]


def dollars(uact: Decimal) -> str:
    return usd(uact / 1_000_000)


@pytest.mark.goal(5)
async def test_nothing_is_ordered_before_the_button_with_the_amount(
    panel: DeployPanel, server: ConsoleServer, world: World, ingress: Ingress
) -> None:
    await click(panel, "Plan")
    await sees(panel, "at most $2.00", "The provider runs the machine", "hold with this notebook")
    assert server.count("POST", "/v1/deployments") == 0 and not world.deployments
    await click(panel, AGREE)
    await sees(panel, "It is ready.", f"https://{ingress.address}", "an hour", "ends by itself at")
    assert server.count("POST", "/v1/deployments") == 1
    world.advance(200)
    await click(panel, "Look now")
    await until(lambda: "Spent $0 " not in " ".join(shown(panel).split()))
    await click(panel, "Close…")
    (there,) = world.deployments.values()
    await click(panel, "Look now")
    await sees(panel, "About $", "of what was set aside for it comes back")
    left = world.balance
    await click(panel, await closing(panel, "it cost $0."))
    await sees(panel, "rented is closed; it cost $0.")
    came = world.balance - left
    assert came > 0
    await sees(panel, f"it cost {dollars(there.purse.paid)}, and {dollars(came)} of what was set")
    assert renting.is_clean(world)
    key = paths.key_file("rented").read_text().strip()
    held = state(panel.view)
    assert not [secret for secret in (CANARY, server.key, key) if secret in held]


async def test_stop_while_it_opens_closes_the_order_and_says_what_it_cost(
    panel: DeployPanel, world: World, ingress: Ingress
) -> None:
    ingress.is_loading = True
    await click(panel, "Plan")
    await click(panel, AGREE)
    await sees(panel, "Phases", "model", "usually")
    await click(panel, "Stop")
    assert "Stop" not in buttons(panel)  # once is enough
    await sees(panel, "Stopped. What was begun is closed; it cost $0.")
    assert renting.is_clean(world) and len(world.deployments) == 1


async def test_no_bids_is_one_line_and_can_be_tried_again(panel: DeployPanel, world: World) -> None:
    hosts = dict(world.hosts)
    await click(panel, "Plan")
    await until(lambda: AGREE in buttons(panel))
    world.hosts.clear()
    with pytest.raises(CapacityError):
        await panel.deploy()
    await sees(panel, "Error:", "failed")
    assert renting.is_clean(world)
    world.hosts.update(hosts)
    await click(panel, AGREE)
    await sees(panel, "It is ready.")
    await panel.close()


async def test_what_is_missing_blocks_the_button(
    panel: DeployPanel, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKASH_API_KEY")
    await click(panel, "Plan")
    await sees(panel, "What is still missing", "AKASH_API_KEY")
    assert AGREE not in buttons(panel)
    panel.confirm()
    assert not world.deployments


async def test_planning_can_be_given_up(
    panel: DeployPanel, server: ConsoleServer, world: World
) -> None:
    gate = threading.Event()
    server.before = lambda: not gate.wait(20)
    try:
        await click(panel, "Plan")
        await until(lambda: bool(server.seen))
        await click(panel, "Stop")
        await sees(panel, "Stopped.")
    finally:
        gate.set()
        server.before = None
    await click(panel, "Plan")
    await until(lambda: AGREE in buttons(panel))
    assert not world.deployments


async def test_a_change_in_place_is_agreed_to_by_its_amount(
    panel: DeployPanel, server: ConsoleServer, world: World
) -> None:
    await click(panel, "Plan")
    await click(panel, AGREE)
    await sees(panel, "It is ready.")
    await click(panel, "Change…")
    fields(panel)["Image"].value = "example.org/akash-llm-server:2"
    await click(panel, "Plan")
    await sees(panel, "image: example.org/akash-llm-server:1 → ", "the containers restart")
    await click(panel, "Update, at most $2.00")
    await sees(panel, "It is ready.")
    assert server.count("POST", "/v1/deployments") == 1
    await panel.close()
    assert renting.is_clean(world)


async def test_closing_that_fails_says_that_it_may_still_cost_something(
    panel: DeployPanel, server: ConsoleServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await click(panel, "Plan")
    await click(panel, AGREE)
    await sees(panel, "It is ready.")
    key, server.key = server.key, "ac.sk.production.other"
    await click(panel, "Close…")
    await click(panel, await closing(panel))
    await sees(panel, "Error:", "it may still cost something")
    server.key = key
    await panel.close()
    assert renting.is_clean(world)


async def test_containers_of_this_machine(
    tmp_path: Path,
    stocked_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    free_port: Callable[[], int],
) -> None:
    fake = FakeDocker(tmp_path / "docker", free_port())
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    target = ComposeTarget(stop_grace_s=1, probe_s=5)
    keeper = Keeper(targets={"compose": target}, ledger=Ledger(paths.ledger()))
    panel = DeployPanel(target="compose", name="boxed", keeper=keeper, context=512, parallel=2)
    fields(panel)["Image"].value = docker.image("good")
    await click(panel, "Plan")
    await sees(panel, "Docker Compose", "the containers know")
    await click(panel, "Deploy, it costs nothing")
    await sees(panel, "It is ready.", "Docker here")
    assert len(fake.containers()) == 1
    await panel.close()
    assert fake.containers() == []
    fake.clean()
