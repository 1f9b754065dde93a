"""Each kind of thing that goes wrong, alone: what is told, what is done, what it costs."""

import json
from decimal import Decimal

import pytest

from tests.support.console import renting
from tests.support.console.faults import CHALLENGE, Fault, answered, lost
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation, Host
from tests.support.console.world import World
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import Health, State
from toolkit.deploy.keeper import Keeper
from toolkit.errors import (
    BudgetError,
    CapacityError,
    EndpointError,
    FundsMissing,
    RequestRefused,
    ToolkitError,
)

CREATE, LEASE = ("POST", "/v1/deployments"), ("POST", "/v1/leases")
SETTINGS = ("GET", "/v2/deployment-settings/")


def refused(code: str) -> bytes:
    return json.dumps({"error": "e", "message": "no", "code": code}).encode()


async def apply(keeper: Keeper) -> None:
    await keeper.apply(renting.plan(renting.intent()))


@pytest.mark.parametrize(
    ("status", "code", "seconds"),
    [(402, "balance_top_up_pending", "0"), (409, "wallet_provisioning", "0")],
)
async def test_what_passes_is_waited_for(
    keeper: Keeper, server: ConsoleServer, world: World, status: int, code: str, seconds: str
) -> None:
    headers = {"retry-after": seconds}
    server.script.add(answered(*CREATE, status, refused(code), headers=headers))
    await apply(keeper)
    assert server.count(*CREATE) == 2 and len(world.deployments) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, refused("validation_error"), RequestRefused),
        (402, refused("insufficient_balance"), FundsMissing),
        (422, refused("unprocessable"), RequestRefused),
    ],
)
async def test_what_is_refused_is_not_sent_again(
    keeper: Keeper, server: ConsoleServer, status: int, body: bytes, error: type[ToolkitError]
) -> None:
    server.script.add(answered(*CREATE, status, body))
    with pytest.raises(error):
        await apply(keeper)
    assert server.count(*CREATE) == 1
    (order,) = renting.orders(keeper).all()
    assert order.state is OrderState.NEVER and keeper.ledger.open_records() == []


@pytest.mark.parametrize("after", [False, True])
async def test_an_answer_to_a_lease_that_is_lost(
    keeper: Keeper, server: ConsoleServer, world: World, after: bool
) -> None:
    server.script.add(lost(*LEASE, after=after))
    await apply(keeper)
    assert sum(each.is_active for each in world.deployments.values()) == 1
    assert len(world.deployments) == (1 if after else 2)


async def test_an_answer_to_a_close_that_is_lost(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    await apply(keeper)
    for after in (False, True):
        server.script.add(lost("DELETE", "/v1/deployments/", after=after))
    closed = await keeper.close("mine")
    assert closed is not None and closed.state is State.CLOSED and renting.is_clean(world)


async def test_one_that_cannot_be_closed_stays_in_the_books(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    await apply(keeper)
    for _ in range(renting.HASTE.close_tries):
        server.script.add(answered("DELETE", "/v1/deployments/", 503, CHALLENGE))
    with pytest.raises(EndpointError, match="may still bill"):
        await keeper.close("mine")
    (record,) = keeper.ledger.open_records()
    assert record.state is State.CLOSING
    await keeper.close("mine")
    assert renting.is_clean(world)


async def test_a_limit_that_is_not_kept_ends_it_before_the_lease(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    body = json.dumps({"data": {"dseq": "1", "runtimeLimitHours": None}}).encode()
    server.script.add(answered(*SETTINGS, 200, body))
    with pytest.raises(BudgetError, match="does not keep the limit"):
        await apply(keeper)
    assert renting.is_clean(world) and server.count(*LEASE) == 0


async def test_an_end_that_is_not_confirmed_ends_it_at_once(
    keeper: Keeper, server: ConsoleServer, world: World
) -> None:
    limited = {"data": {"dseq": "1", "runtimeLimitHours": 2, "runtimeEndsAt": None}}
    body = json.dumps(limited).encode()
    server.script.add(answered(*SETTINGS, 200, body), answered(*SETTINGS, 200, body))
    with pytest.raises(BudgetError, match="does not confirm"):
        await apply(keeper)
    assert renting.is_clean(world)


async def test_a_provider_that_dies_is_found_out_and_another_one_is_taken(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    await apply(keeper)
    (there,) = world.deployments.values()
    world.advance(600)
    world.lose_lease(there.dseq)
    (seen,) = await keeper.status()
    assert seen.health is Health.GONE and "unstable" in seen.detail
    await apply(keeper)
    assert not there.is_active
    assert sum(each.is_active for each in world.deployments.values()) == 1


async def test_an_address_that_is_none_is_not_called(
    keeper: Keeper, world: World, ingress: Ingress
) -> None:
    world.ingress = "example.org/path@127.0.0.1"
    with pytest.raises(EndpointError, match="address is none"):
        await apply(keeper)
    assert renting.is_clean(world)


class TestGPUs:
    """Bids that do not offer what was ordered."""

    @pytest.fixture
    def world(self) -> World:
        gpu = "vendor/nvidia/model/t4/ram/16Gi/interface/pcie"
        liar = Host(address="akash1liar", price=Decimal(500), gpu=gpu, bids_blindly=True)
        return World(hosts=[liar])

    async def test_one_that_lies_is_not_taken(
        self, keeper: Keeper, world: World, server: ConsoleServer
    ) -> None:
        with pytest.raises(CapacityError, match="t4"):
            await keeper.apply(renting.plan(renting.intent(), gpu="a100"))
        assert server.count(*LEASE) == 0 and renting.is_clean(world)


class TestOlder:
    """A Console that has no names, wants deposits, and funds by itself."""

    @pytest.fixture
    def world(self) -> World:
        return World(hosts=renting.hosts(1000, 1100, 1200), generation=Generation.OLDER)

    async def test_funding_is_off_before_the_lease_and_the_deposit_is_the_worst_case(
        self, keeper: Keeper, world: World, server: ConsoleServer
    ) -> None:
        await apply(keeper)
        (there,) = world.deployments.values()
        assert there.auto_top_up is False
        assert there.purse.funds + there.purse.paid == 2_000_000
        assert server.count("GET", f"/v2/deployment-settings/{there.dseq}") == 0
        world.advance(5000)  # nobody watches
        assert not there.is_active and there.purse.paid == 2_000_000
        await keeper.close("mine")
        (order,) = renting.orders(keeper).all()
        assert order.spent == 2_000_000

    async def test_an_order_whose_answer_was_lost_is_found_and_gone_on_with(
        self, keeper: Keeper, world: World, server: ConsoleServer
    ) -> None:
        """Such a Console gives a lease for the manifest only, and that was in the answer: it is
        made again from the SDL."""
        server.script.add(answered(*CREATE, 400, refused("bad_request")))
        server.script.add(lost(*CREATE, after=True))
        await apply(keeper)
        (there,) = world.deployments.values()
        assert there.is_active and there.active_leases and server.count(*CREATE) == 2

    async def test_a_manifest_that_cannot_be_made_again_takes_another_order(
        self, keeper: Keeper, world: World, server: ConsoleServer
    ) -> None:
        """A Console that writes manifests in another way than this program expects."""
        server.script.add(answered(*CREATE, 400, refused("bad_request")))
        server.script.add(lost(*CREATE, after=True))
        first: list[str] = []

        def rewrite() -> None:
            (there,) = world.deployments.values()
            there.manifest += " "
            first.append(there.dseq)

        server.script.add(Fault(method="POST", path="/v1/leases", do=rewrite))
        await apply(keeper)
        closed, rented = world.deployments.values()
        assert [closed.dseq] == first and not closed.is_active and rented.active_leases

    async def test_another_image_is_a_whole_definition(
        self, keeper: Keeper, world: World, server: ConsoleServer
    ) -> None:
        await apply(keeper)
        wanted = renting.intent(image="example.org/akash-llm-server:2")
        await keeper.apply(renting.plan(wanted), replace=True)
        (there,) = world.deployments.values()
        assert server.count("PUT", f"/v1/deployments/{there.dseq}") == 1
        assert there.sdl.services["llm"].image.endswith(":2")
