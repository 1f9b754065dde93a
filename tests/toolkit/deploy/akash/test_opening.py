"""From an intent to an endpoint that answers, and back to an account without debts."""

from decimal import Decimal

import pytest

from tests.support.console import renting
from tests.support.console.faults import lost
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy import lifecycle
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import Health, State, Update
from toolkit.deploy.keeper import Keeper
from toolkit.errors import (
    BudgetError,
    CapacityError,
    CredentialsError,
    EndpointError,
    FundsMissing,
    ReplyLost,
)

CREATE = ("POST", "/v1/deployments")
LEASE = ("POST", "/v1/leases")


async def test_an_intent_becomes_an_endpoint(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    updates: list[Update] = []
    plan = renting.plan(renting.intent())
    record = await keeper.apply(plan, progress=updates.append)
    assert record.state is State.READY
    assert record.url == f"https://{ingress.address}"
    assert renting.phases(updates) == ["order", "bids", "lease", "services", "model"]
    (order,) = renting.orders(keeper).of(record.uid)
    assert (order.provider, order.price) == ("akash1a", Decimal(1000))
    assert order.ends_at is not None and order.dseq in world.deployments
    assert world.deployments[order.dseq].runtime_limit == 2
    assert (await keeper.status())[0].health is Health.READY


async def test_the_same_name_is_adopted(keeper: Keeper, server: ConsoleServer) -> None:
    plan = renting.plan(renting.intent())
    first = await keeper.apply(plan)
    assert (await keeper.apply(plan)).uid == first.uid
    assert server.count(*CREATE) == 1


async def test_closing_settles_the_account(keeper: Keeper, world: World) -> None:
    before = world.total
    record = await keeper.apply(renting.plan(renting.intent()))
    world.advance(100)
    closed = await keeper.close("mine")
    assert closed is not None and closed.state is State.CLOSED
    (order,) = renting.orders(keeper).of(record.uid)
    (there,) = world.deployments.values()
    assert order.state is OrderState.CLOSED and order.spent == there.purse.paid > 0
    assert renting.is_clean(world) and world.total == before


async def test_without_both_caps_nothing_is_asked_for(
    keeper: Keeper, server: ConsoleServer
) -> None:
    for missing in ("max_usd_per_hour", "runtime_hours"):
        with pytest.raises(BudgetError, match="nothing is deployed"):
            await keeper.apply(renting.plan(renting.intent(**{missing: None})))
    assert server.count(*CREATE) == 0 and keeper.ledger.records() == []


@pytest.mark.parametrize("after", [False, True])
async def test_an_answer_to_an_order_that_is_lost(
    keeper: Keeper, server: ConsoleServer, world: World, after: bool
) -> None:
    server.script.add(lost(*CREATE, after=after))
    plan = renting.plan(renting.intent())
    if after:
        assert (await keeper.apply(plan)).state is State.READY
    else:
        with pytest.raises(ReplyLost, match="answer was lost"):
            await keeper.apply(plan)
    assert server.count(*CREATE) == 1
    assert len(world.deployments) == int(after)


async def test_a_provider_that_cannot_be_reached_is_passed_over(
    keeper: Keeper, world: World
) -> None:
    world.silent.add("akash1a")
    record = await keeper.apply(renting.plan(renting.intent()))
    (order,) = renting.orders(keeper).of(record.uid)
    assert order.provider in ("akash1b", "akash1c")


async def test_one_that_does_not_take_the_manifest_is_left_for_another(
    keeper: Keeper, world: World
) -> None:
    world.deaf.add("akash1a")
    record = await keeper.apply(renting.plan(renting.intent()))
    first, second = renting.orders(keeper).of(record.uid)
    assert (first.state, second.state) == (OrderState.CLOSED, OrderState.LEASED)
    assert first.failure is not None and "manifest" in first.failure
    assert second.provider == "akash1b"
    assert sum(each.is_active for each in world.deployments.values()) == 1


async def test_no_bids(keeper: Keeper, world: World) -> None:
    world.hosts.clear()
    with pytest.raises(CapacityError, match="no provider has bid"):
        await keeper.apply(renting.plan(renting.intent()))
    assert renting.is_clean(world)
    assert keeper.ledger.open_records() == []


async def test_an_account_without_money(keeper: Keeper, world: World) -> None:
    world.balance = Decimal(0)
    with pytest.raises(FundsMissing):
        await keeper.apply(renting.plan(renting.intent()))
    assert not world.deployments and keeper.ledger.open_records() == []


async def test_a_key_that_is_refused(keeper: Keeper, server: ConsoleServer) -> None:
    server.key += "0"
    with pytest.raises(CredentialsError):
        await keeper.apply(renting.plan(renting.intent()))
    assert keeper.ledger.open_records() == []


async def test_every_provider_fails(keeper: Keeper, world: World) -> None:
    world.deaf |= {"akash1a", "akash1b", "akash1c"}
    with pytest.raises(EndpointError, match="3 attempts failed"):
        await keeper.apply(renting.plan(renting.intent()))
    assert renting.is_clean(world)


@pytest.mark.usefixtures("stocked_home")
async def test_its_client_knows_what_the_lease_costs_now(keeper: Keeper) -> None:
    plan = renting.plan(renting.intent())
    async with await lifecycle.deploy(plan, keeper=keeper) as endpoint:
        assert await endpoint.usd_per_hour() == Decimal("0.6")  # 1,000 uact a block, 600 an hour
        await keeper.close("mine")
        assert await endpoint.usd_per_hour() is None
