"""What a provider tells while it is waited for, and after: events, logs, and the last words."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.certificates import self_signed
from tests.support.chain_api import ChainApi
from tests.support.console import renting
from tests.support.console.gateways import serve_gateway
from tests.support.console.states import Host
from tests.support.console.world import World
from tests.support.provider_gateway import ProviderGateway
from toolkit.deploy.akash.gateway import CHAIN_VARIABLE
from toolkit.deploy.base import Update
from toolkit.deploy.keeper import Keeper
from toolkit.errors import EndpointError, UsageError

HOST = "akash1a"
SERIAL = 7


@pytest.fixture
def world() -> World:
    """One provider, whose containers take their time."""
    return World(hosts=[Host(address=HOST, price=Decimal(1000), available_after=40)])


@pytest.fixture
async def gateway(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ProviderGateway]:
    own = self_signed(tmp_path, HOST, serial=SERIAL)
    async with ChainApi().serve() as chain, serve_gateway(world, HOST, own) as gateway:
        chain.publish(HOST, SERIAL, own)
        monkeypatch.setenv(CHAIN_VARIABLE, chain.url)
        yield gateway


async def test_events_are_shown_while_the_containers_are_waited_for(
    keeper: Keeper, world: World, gateway: ProviderGateway
) -> None:
    updates: list[Update] = []
    await keeper.apply(renting.plan(renting.intent()), progress=updates.append)
    texts = [update.text for update in updates if update.phase == "services"]
    assert any("Pulling" in text for text in texts), texts


async def test_logs_come_from_the_provider(
    keeper: Keeper, world: World, gateway: ProviderGateway
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    assert [line async for line in keeper.logs("mine")] == ["llm | llm is up"]
    assert [line async for line in keeper.logs("mine", service="llm")] == ["llm is up"]


async def test_a_program_that_crashes_is_given_up_with_its_last_words(
    keeper: Keeper, world: World, gateway: ProviderGateway
) -> None:
    world.crashing.add(HOST)
    with pytest.raises(EndpointError, match="ends again and again"):
        await keeper.apply(renting.plan(renting.intent()))
    assert not any(each.is_active for each in world.deployments.values())
    record = keeper.ledger.latest("mine")
    assert record is not None and record.error is not None
    assert "again and again" in record.error
    kept = [line async for line in keeper.logs("mine")]
    assert kept and set(kept) == {"llm | llm cannot go on"}


async def test_of_a_closed_one_there_is_what_was_kept(
    keeper: Keeper, world: World, gateway: ProviderGateway
) -> None:
    await keeper.apply(renting.plan(renting.intent()))
    await keeper.close("mine")
    with pytest.raises(UsageError, match="keep no logs"):
        [line async for line in keeper.logs("mine")]
