"""The older Console: other money, a list that mixes up leases, and a read that costs."""

import pytest

from tests.support.console import samples
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from toolkit.deploy.console.bids import Choice
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Created
from toolkit.deploy.console.updates import NewDeployment
from toolkit.errors import ConfigError, RequestRefused

ORDER = NewDeployment(sdl=samples.SDL, deposit_usd=0.5)


async def leased(console: ConsoleClient, world: World, provider: str) -> Created:
    made = await console.create(ORDER)
    world.advance(3)
    bids = {bid.id.provider: bid for bid in await console.bids(made.dseq)}
    await console.lease([Choice.of(bids[provider])], made.manifest)
    return made


async def test_it_is_told_by_what_it_lacks(old_console: ConsoleClient) -> None:
    assert await old_console.funding_config() is None
    assert not await old_console.is_newer()


async def test_it_asks_for_a_deposit(old_console: ConsoleClient) -> None:
    with pytest.raises(RequestRefused, match="deposit is required") as caught:
        await old_console.create(NewDeployment(sdl=samples.SDL))
    assert caught.value.status == 400
    assert (await old_console.create(ORDER)).dseq


async def test_settings_are_never_read_there(
    old_console: ConsoleClient, old_server: ConsoleServer, old_world: World
) -> None:
    made = await old_console.create(ORDER)
    with pytest.raises(ConfigError):
        await old_console.settings(made.dseq)
    with pytest.raises(ConfigError):
        await old_console.set_runtime_limit(made.dseq, 4)
    assert not any("settings" in seen.path for seen in old_server.seen)
    assert old_world.deployments[made.dseq].auto_top_up is None


async def test_without_funding_the_deposit_is_all_it_can_cost(
    old_console: ConsoleClient, old_world: World
) -> None:
    made = await old_console.create(ORDER)
    settings = await old_console.turn_funding_off(made.dseq)
    assert not settings.auto_top_up_enabled
    old_world.advance(1)
    (bid, *_) = await old_console.bids(made.dseq)
    await old_console.lease([Choice.of(bid)], made.manifest)
    old_world.advance(2000)
    there = await old_console.deployment(made.dseq)
    assert there.is_closed
    assert there.leases[0].state == "insufficient_funds"
    assert old_world.balance == 99_500_000


async def test_with_funding_a_lease_takes_two_days_of_cost(
    old_console: ConsoleClient, old_world: World
) -> None:
    made = await leased(old_console, old_world, samples.CHEAP.address)
    there = await old_console.deployment(made.dseq)
    assert there.escrow_account.state.funds[0].amount == 1000 * 600 * 48


async def test_funding_cannot_be_turned_off_on_the_newer(console: ConsoleClient) -> None:
    made = await console.create(NewDeployment(sdl=samples.SDL))
    with pytest.raises(ConfigError):
        await console.turn_funding_off(made.dseq)


async def test_leases_come_back_to_their_own_deployments(
    old_console: ConsoleClient, old_server: ConsoleServer, old_world: World
) -> None:
    cheap = await leased(old_console, old_world, samples.CHEAP.address)
    dear = await leased(old_console, old_world, samples.DEAR.address)
    bare = await old_console.create(ORDER)
    found = {each.dseq: each for each in await old_console.deployments()}
    providers = {dseq: [x.id.provider for x in each.leases] for dseq, each in found.items()}
    assert providers == {
        cheap.dseq: [samples.CHEAP.address],
        dear.dseq: [samples.DEAR.address],
        bare.dseq: [],
    }


async def test_lists_go_on_page_by_page(
    old_console: ConsoleClient, old_server: ConsoleServer, old_world: World
) -> None:
    for _ in range(101):
        old_world.create({"sdl": samples.SDL, "deposit": 0.5})
    assert len(await old_console.deployments()) == 101
    assert old_server.count("GET", "/v1/deployments") == 2


async def test_the_manifest_has_to_be_the_one_of_the_order(
    old_console: ConsoleClient, old_world: World
) -> None:
    made = await old_console.create(ORDER)
    old_world.advance(1)
    (bid, *_) = await old_console.bids(made.dseq)
    with pytest.raises(RequestRefused):
        await old_console.lease([Choice.of(bid)], None)
    with pytest.raises(RequestRefused):
        await old_console.lease([Choice.of(bid)], samples.SDL)


def test_reading_settings_there_turns_funding_on() -> None:
    """Why the client does not."""
    world = World(generation=Generation.OLDER)
    made = world.create({"sdl": samples.SDL, "deposit": 1})
    assert world.read_settings(made.dseq).auto_top_up is True
