"""Every call against the newer Console: what it asks is what the document says."""

from decimal import Decimal

import pytest

from tests.support.console import document, samples
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.console.amounts import balance_usd, uact_in
from toolkit.deploy.console.bids import Choice
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Created
from toolkit.deploy.console.market import ScreenedResource, Screening
from toolkit.deploy.console.updates import NewDeployment, Patch, ServicePatch
from toolkit.errors import CredentialsError, EndpointError, FundsMissing, RequestRefused, UsageError

ORDER = NewDeployment(sdl=samples.SDL, name="mine-1", runtime_limit_hours=4)


async def leased(console: ConsoleClient, world: World) -> Created:
    """A deployment with a lease on the cheapest honest host."""
    made = await console.create(ORDER)
    world.advance(1)
    bids = await console.bids(made.dseq)
    bid = next(bid for bid in bids if bid.id.provider == samples.CHEAP.address)
    await console.lease([Choice.of(bid)], made.manifest)
    return made


def test_the_document_is_at_hand() -> None:
    """Without it the other tests hold requests against our own types only."""
    if document.published() is None:
        pytest.skip("the published OpenAPI document is not at hand: only our own types are checked")


async def test_the_account(console: ConsoleClient) -> None:
    assert (await console.user()).username == "tester"
    assert (await console.balances()).balance == 100_000_000
    assert (await console.spend_rate()).deployments == ()
    config = await console.funding_config()
    assert config is not None
    assert config.target_runway_hours == 48
    assert await console.is_newer()


@pytest.mark.parametrize("says_dollars", [False, True])
async def test_the_balance_is_the_same_in_either_unit(says_dollars: bool) -> None:
    world = World(hosts=samples.HOSTS, says_dollars=says_dollars)
    with ConsoleServer(world) as server:
        async with ConsoleClient(server.key, url=server.url) as console:
            await console.create(ORDER)
            held = [each.escrow_account.state.funds for each in await console.deployments()]
            escrow = sum((uact_in(funds) for funds in held), Decimal(0))
            assert balance_usd(await console.balances(), escrow) == Decimal("99.5")


async def test_a_life_from_order_to_close(console: ConsoleClient, world: World) -> None:
    before = world.total
    made = await console.create(ORDER)
    assert made.dseq.isdecimal()
    assert await console.bids(made.dseq) == ()

    world.advance(3)
    bids = {bid.id.provider: bid for bid in await console.bids(made.dseq)}
    assert set(bids) == {"akash1cheap", "akash1dear", "akash1lying"}
    cheap = bids["akash1cheap"]
    assert cheap.is_leasable
    assert cheap.price.amount == 1000
    assert cheap.resources_offer[0].gpu_keys == (samples.A100,)
    assert bids["akash1lying"].resources_offer[0].gpu_keys == (samples.T4,)

    there = await console.lease([Choice.of(cheap)], made.manifest)
    assert [lease.id.provider for lease in there.active_leases] == ["akash1cheap"]
    states = {bid.id.provider: bid.state for bid in await console.bids(made.dseq)}
    assert states == {"akash1cheap": "active", "akash1dear": "lost", "akash1lying": "lost"}

    (lease,) = await console.leases(made.dseq)
    assert lease.status is not None
    assert not lease.status.is_available
    world.advance(2)
    there = await console.deployment(made.dseq)
    status = there.leases[0].status
    assert status is not None
    assert status.is_available
    assert status.services["llm"].uris == (f"llm.{made.dseq}.akash1cheap.example.org",)
    assert status.forwarded_ports["llm"][0].port == 9000
    assert status.ips == {}
    assert there.name == "mine-1"
    (spending,) = (await console.spend_rate()).deployments
    assert spending.dseq == made.dseq
    assert spending.price.amount == 1000

    await console.close(made.dseq)
    await console.close(made.dseq)
    there = await console.deployment(made.dseq)
    assert there.is_closed
    assert there.leases[0].reason == "lease_closed_owner"
    assert (await console.spend_rate()).deployments == ()
    assert world.total == before


async def test_closing_later_is_an_activity(console: ConsoleClient, world: World) -> None:
    made = await leased(console, world)
    activity = await console.close_later(made.dseq)
    assert (await console.activity(activity)).status == "pending"
    assert not (await console.deployment(made.dseq)).is_closed
    world.advance(1)
    assert (await console.activity(activity)).status == "succeeded"
    assert (await console.deployment(made.dseq)).is_closed


async def test_the_lists(console: ConsoleClient, world: World) -> None:
    for number in range(3):
        await console.create(NewDeployment(sdl=samples.SDL, name=f"n{number}"))
    (found,) = await console.deployments(search="n1")
    assert found.name == "n1"
    await console.close(found.dseq)
    assert [each.name for each in await console.deployments()] == ["n0", "n2"]
    assert [each.dseq for each in await console.deployments(state="closed")] == [found.dseq]


async def test_lists_go_on_page_by_page(
    console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    for number in range(101):
        world.create({"sdl": samples.SDL, "name": f"n{number}"})
    assert len(await console.deployments()) == 101
    assert server.count("GET", "/v1/deployments") == 2


async def test_an_unknown_state_is_not_listed(console: ConsoleClient) -> None:
    with pytest.raises(UsageError):
        await console.deployments(state="paused")


async def test_the_runtime_limit(console: ConsoleClient, world: World) -> None:
    made = await console.create(ORDER)
    assert (await console.settings(made.dseq)).runtime_ends_at is None
    assert (await console.set_runtime_limit(made.dseq, 5)).runtime_limit_hours == 5
    world.advance(1)
    (bid, *_) = await console.bids(made.dseq)
    await console.lease([Choice.of(bid)], made.manifest)
    assert (await console.settings(made.dseq)).runtime_ends_at is not None
    with pytest.raises(RequestRefused) as caught:
        await console.set_runtime_limit(made.dseq, 4)
    assert caught.value.status == 400
    assert (await console.set_runtime_limit(made.dseq, None)).runtime_limit_hours is None


async def test_changes_in_place(console: ConsoleClient, world: World) -> None:
    made = await leased(console, world)
    before = (await console.deployment(made.dseq)).console_settings
    assert before is not None
    patch = Patch(
        services={"llm": ServicePatch(image="example.org/test/llm:2", env={"MODEL": None})},
        if_manifest_version=before.manifest_version,
    )
    after = await console.patch(made.dseq, patch)
    assert after.deployment.hash != before.manifest_version
    assert after.console_settings is not None
    assert "llm:2" in after.console_settings.sdl
    assert "MODEL" not in after.console_settings.sdl

    with pytest.raises(RequestRefused) as caught:
        await console.patch(made.dseq, patch)
    assert (caught.value.status, caught.value.code) == (409, "deployment_definition_changed")

    bigger = samples.SDL.replace("8Gi", "16Gi")
    with pytest.raises(RequestRefused) as caught:
        await console.replace_sdl(made.dseq, bigger)
    assert (caught.value.status, caught.value.code) == (422, "deployment_resources_changed")
    same = await console.replace_sdl(made.dseq, samples.SDL)
    assert same.deployment.hash == before.manifest_version


async def test_a_deposit_moves_money(console: ConsoleClient, world: World) -> None:
    made = await console.create(ORDER)
    there = await console.deposit(made.dseq, 1.5)
    assert there.escrow_account.state.funds[0].amount == 2_000_000
    assert world.balance == 98_000_000


async def test_the_market(console: ConsoleClient, server: ConsoleServer, world: World) -> None:
    world.silent |= {samples.DEAR.address, samples.LYING.address}
    providers = await console.market.providers()
    assert {p.owner for p in providers if not p.is_online} == world.silent
    assert len(await console.market.providers([samples.CHEAP.address])) == 1
    one = await console.market.provider(samples.CHEAP.address)
    assert one.host_uri == samples.CHEAP.uri
    assert one.gpu_models[0].model == "a100"
    prices = await console.market.gpu_prices()
    assert {model.price is None for model in prices.models} == {True, False}
    (vendor,) = (await console.market.placement_options()).gpus
    assert vendor.models[0].variants[0].max_node_free_units == 8
    with pytest.raises(RequestRefused) as caught:
        await console.market.provider("akash1nobody")
    assert caught.value.status == 404
    assert not any("x-api-key" in seen.headers for seen in server.seen)


async def test_screening(console: ConsoleClient) -> None:
    resource = {
        "id": 1,
        "cpu": {"units": {"val": "4000"}},
        "memory": {"quantity": {"val": "8589934592"}},
        "gpu": {"units": {"val": "0"}},
        "storage": [{"name": "default", "quantity": {"val": "1073741824"}}],
    }
    unit = ScreenedResource(resource, 1, {"denom": "uact", "amount": "1000"})
    question = Screening((unit,), requirements={"signedBy": {"anyOf": ["akash1auditor"]}})
    screened = await console.market.screen(question)
    owners = {provider.owner for provider in screened.providers}
    assert samples.CHEAP.address in owners
    assert samples.UNAUDITED.address not in owners


async def test_tokens_and_seals(console: ConsoleClient) -> None:
    token = await console.access_token(300, ["status", "logs"])
    assert token.token.count(".") == 2
    assert token.token not in repr(token)
    assert (await console.secrets_context()).jwk["kty"] == "RSA"


async def test_money_that_is_not_there(console: ConsoleClient, world: World) -> None:
    world.balance -= world.balance - 1000
    with pytest.raises(FundsMissing) as caught:
        await console.create(ORDER)
    assert caught.value.exit_code == 9
    assert caught.value.needed_usd == 0.5
    assert caught.value.available_usd == 0.001


async def test_a_wrong_key(server: ConsoleServer) -> None:
    async with ConsoleClient("ac.sk.production.wrong", url=server.url) as console:
        with pytest.raises(CredentialsError) as caught:
            await console.user()
        assert caught.value.exit_code == 4
        assert await console.market.providers()


async def test_without_a_key_only_what_is_public_is_asked(server: ConsoleServer) -> None:
    async with ConsoleClient(url=server.url) as console:
        assert await console.is_newer()
        with pytest.raises(CredentialsError):
            await console.user()
    assert server.count("GET", "/v1/user/me") == 0


async def test_an_order_that_is_none(console: ConsoleClient) -> None:
    with pytest.raises(RequestRefused, match="Invalid SDL") as caught:
        await console.create(NewDeployment(sdl="version: 7"))
    assert caught.value.status == 400


@pytest.mark.parametrize("dseq", ["", "1/../../user", "12a", "1?x=y", "٣"])
async def test_what_is_no_number_is_not_put_into_a_path(
    console: ConsoleClient, server: ConsoleServer, dseq: str
) -> None:
    for ask in (console.deployment, console.close, console.bids, console.settings):
        with pytest.raises(UsageError):
            await ask(dseq)
    with pytest.raises(EndpointError):
        await console.market.provider("../user/me")
    assert {seen.path for seen in server.seen} <= {"/v1/deployment-funding-config"}


async def test_all_groups_are_leased_in_one_call(console: ConsoleClient, world: World) -> None:
    placement = "    any:\n      pricing:\n        llm: {denom: uakt, amount: 2000}\n"
    allocation = "    any: {profile: llm, count: 1}\n"
    two = samples.SDL
    for part in (placement, allocation):
        two = two.replace(part, part + part.replace("any:", "more:"))
    made = await console.create(NewDeployment(sdl=two))
    world.advance(1)
    bids = [b for b in await console.bids(made.dseq) if b.id.provider == samples.CHEAP.address]
    assert {bid.id.gseq for bid in bids} == {1, 2}
    there = await console.lease([Choice.of(bid) for bid in bids], made.manifest)
    assert len(there.active_leases) == 2
    (spending,) = (await console.spend_rate()).deployments
    assert spending.price.amount == 2000
