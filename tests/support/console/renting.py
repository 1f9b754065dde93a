"""Renting in the simulated world: a keeper whose patience is short, and plans without sizing."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.console.server import ConsoleServer
from tests.support.console.states import Host
from tests.support.console.world import World
from toolkit import paths
from toolkit.deploy import keyfile
from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.target import ConsoleTarget
from toolkit.deploy.base import Intent, Plan, Price
from toolkit.deploy.console.amounts import price_ceiling
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.wire import PATIENCE_S
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger
from toolkit.sdl.inputs import GPUChoice, GPURequest, RenderInputs
from toolkit.sdl.render import render

# What answers nobody: events of a provider are beside the point here.
NOWHERE = "https://127.0.0.1:9"

HASTE = Pace(
    bid_poll_s=0.001,
    first_bid_s=0.5,
    more_bids_s=0.01,
    status_poll_s=0.001,
    services_s=60.0,
    blind_s=5.0,
    settle_poll_s=0.001,
    settle_s=0.05,
    never_after_s=720.0,
)


# For programs that are started anew for each thing they do.
CALM = msgspec.structs.replace(
    HASTE,
    bid_poll_s=0.02,
    first_bid_s=1.5,
    more_bids_s=0.05,
    status_poll_s=0.02,
    settle_poll_s=0.02,
    settle_s=0.2,
)


def announce(server: ConsoleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell programs by their environment which account there is, and not to dawdle."""
    monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
    monkeypatch.setenv("AKASH_API_KEY", server.key)
    monkeypatch.setenv("AKASH_LLM_PACE", msgspec.json.encode(CALM).decode())


def hosts(*prices: int) -> list[Host]:
    """Providers without GPUs: `akash1a` with the first price, `akash1b`, and so on."""
    return [
        Host(address=f"akash1{letter}", price=Decimal(price), gateway=NOWHERE)
        for letter, price in zip("abcdefgh", prices, strict=False)
    ]


def intent(**given: Any) -> Intent:
    """A small model for two hours, at most at a dollar an hour."""
    made: dict[str, Any] = {
        "name": "mine",
        "target": "console",
        "image": "example.org/akash-llm-server:1",
        "max_usd_per_hour": Decimal(1),
        "runtime_hours": 2,
    }
    return Intent(**(made | given))


def plan(wanted: Intent, *, cpu: int = 2, gpu: str = "") -> Plan:
    """The plan for an intent, without asking what anything needs."""
    key = keyfile.ensure(paths.key_file(wanted.name))
    inputs = RenderInputs(
        image=wanted.image,
        keys_text=keyfile.as_digests(key),
        model=wanted.model,
        context=wanted.context,
        parallel=wanted.parallel,
        cpu=cpu,
        gpu=GPURequest(1, (GPUChoice(gpu),)) if gpu else None,
        price=price_ceiling(wanted.max_usd_per_hour or Decimal(1)),
        env={name: f"ac-secret://{name}" for name in wanted.secrets},
    )
    return Plan(
        intent=wanted,
        resources=(),
        price=Price.of_hour(Decimal(0)),
        worst_case_usd=None,
        limits=(),
        privacy=(),
        sdl=render(inputs, wanted.engine),
    )


def keeper(server: ConsoleServer, *, pace: Pace = HASTE, path: Path | None = None) -> Keeper:
    """A keeper of one home whose only target is the simulated account."""
    ledger, key = Ledger(path or paths.ledger()), server.key

    def console(*, needs_key: bool, patience_s: float = PATIENCE_S) -> ConsoleClient:
        return ConsoleClient(key, url=server.url, patience_s=patience_s)

    target = ConsoleTarget(orders=Orders(ledger), pace=pace, console=console)
    return Keeper(targets={"console": target}, ledger=ledger)


def orders(keeper: Keeper) -> Orders:
    return Orders(keeper.ledger)


def is_clean(world: World) -> bool:
    """Whether nothing is open at the account."""
    return not any(each.is_active for each in world.deployments.values())


def phases(updates: Sequence[Any]) -> list[str]:
    """The phases in their order, each once."""
    seen: list[str] = []
    for update in updates:
        if update.phase not in seen:
            seen.append(update.phase)
    return seen
