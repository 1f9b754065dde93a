"""From the Console to the provider: a lease, a token for it, and what its gateway tells."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from tests.support.certificates import KeyPair, self_signed
from tests.support.chain_api import ChainApi
from tests.support.console import samples
from tests.support.console.gateways import serve_gateway
from tests.support.console.world import World
from tests.support.provider_gateway import ProviderGateway
from toolkit.deploy.console.bids import Choice
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.updates import NewDeployment
from toolkit.deploy.provider.chain import Chain
from toolkit.deploy.provider.gateway import Gateway, Lease
from toolkit.deploy.provider.stream import Patience
from toolkit.deploy.provider.token import Scope, Token
from toolkit.errors import CredentialsError, EndpointError, RequestRefused

HOST = samples.CHEAP.address
SERIAL = 7
EAGER = Patience(first_s=0, most_s=0, attempts=3, attempts_once=2, quiet_s=0.05)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return self_signed(tmp_path_factory.mktemp("own"), HOST, serial=SERIAL)


@pytest.fixture
async def provider(world: World, own: KeyPair) -> AsyncIterator[ProviderGateway]:
    async with serve_gateway(world, HOST, own) as gateway:
        yield gateway


@pytest.fixture
async def chain(own: KeyPair) -> AsyncIterator[Chain]:
    async with ChainApi().serve() as api:
        api.publish(HOST, SERIAL, own)
        chain = Chain(api.url)
        yield chain
        await chain.aclose()


async def leased(console: ConsoleClient, world: World) -> str:
    """The number of a deployment that the host has a lease of."""
    made = await console.create(NewDeployment(sdl=samples.SDL))
    world.advance(1)
    bids = await console.bids(made.dseq)
    bid = next(bid for bid in bids if bid.id.provider == HOST)
    await console.lease([Choice.of(bid)], made.manifest)
    return made.dseq


async def gateway_of(
    console: ConsoleClient, chain: Chain, dseq: str, *, scope: str | None = None
) -> Gateway:
    """A client of the gateway, all of it by what the Console says."""

    async def token(scopes: frozenset[Scope]) -> Token:
        wanted = [scope] if scope else sorted(scopes)
        made = await console.access_token(300, wanted)
        return Token(made.token, time.time() + 300)

    uri = (await console.market.provider(HOST)).host_uri
    lease = Lease(provider=HOST, host_uri=uri, dseq=int(dseq))
    return Gateway(lease, token=token, published=chain.published, patience=EAGER)


async def test_the_gateway_tells_what_the_world_does(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    dseq = await leased(console, world)
    gateway = await gateway_of(console, chain, dseq)
    status = await gateway.status()
    assert status is not None
    assert not status.is_up
    assert [event.reason async for event in gateway.events()] == ["Pulling"]
    with pytest.raises(EndpointError, match="no running pods"):
        [line async for line in gateway.logs()]

    world.advance(samples.CHEAP.available_after)
    status = await gateway.status()
    assert status is not None
    assert status.is_up
    assert status.services["llm"].uris == (f"llm.{dseq}.{HOST}.example.org",)
    assert [event.reason async for event in gateway.events()] == ["Pulling", "Started"]
    assert [(line.service, line.text) async for line in gateway.logs()] == [("llm", "llm is up")]
    assert len({seen.authorization for seen in provider.seen}) == 1


async def test_what_is_followed_goes_on_until_the_lease_ends(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    dseq = await leased(console, world)
    gateway = await gateway_of(console, chain, dseq)
    async with aclosing(gateway.events(follow=True)) as events:
        assert (await anext(events)).reason == "Pulling"
        following = asyncio.create_task(anext(events))
        world.advance(samples.CHEAP.available_after)
        assert (await following).reason == "Started"
        await console.close(dseq)
        with pytest.raises(EndpointError, match="no such lease"):
            await anext(events)


async def test_without_a_manifest_there_is_no_status(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    world.deaf.add(HOST)
    with pytest.raises(RequestRefused):
        await leased(console, world)
    (dseq,) = world.deployments
    gateway = await gateway_of(console, chain, dseq)
    assert await gateway.status() is None
    assert [event async for event in gateway.events()] == []


async def test_an_unknown_lease_is_none(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    await leased(console, world)
    gateway = await gateway_of(console, chain, "1234")
    assert await gateway.status() is None
    with pytest.raises(EndpointError, match="no such lease"):
        [line async for line in gateway.logs()]


async def test_a_host_that_cannot_say_is_an_error(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    dseq = await leased(console, world)
    gateway = await gateway_of(console, chain, dseq)
    world.silent.add(HOST)
    with pytest.raises(RequestRefused) as caught:
        await gateway.status()
    assert caught.value.status == 503


async def test_a_token_holds_for_its_scope_only(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    gateway = await gateway_of(console, chain, await leased(console, world), scope="events")
    assert [event.reason async for event in gateway.events()] == ["Pulling"]
    with pytest.raises(CredentialsError, match="unauthorized access"):
        await gateway.status()


async def test_a_token_that_has_ended_or_was_changed_is_refused(
    console: ConsoleClient, world: World, provider: ProviderGateway, chain: Chain
) -> None:
    over = world.issuer.make(frozenset(Scope), ended_s_ago=1).text
    fresh = (await console.access_token(300, ["status"])).token
    for text, message in ((over, "JWT is expired"), (fresh[:-4] + "AAAA", "JWT is invalid")):

        async def token(scopes: frozenset[Scope], text: str = text) -> Token:
            return Token(text, time.time() + 300)

        lease = Lease(provider=HOST, host_uri=provider.uri, dseq=1)
        with pytest.raises(CredentialsError, match=message):
            await Gateway(lease, token=token, published=chain.published).status()


async def test_a_scope_that_there_is_not_is_refused(console: ConsoleClient) -> None:
    with pytest.raises(RequestRefused) as caught:
        await console.access_token(300, ["everything"])
    assert caught.value.status == 400


async def test_the_world_names_the_gateway_while_it_is_there(
    console: ConsoleClient, world: World, own: KeyPair
) -> None:
    before = (await console.market.provider(HOST)).host_uri
    async with serve_gateway(world, HOST, own) as gateway:
        assert (await console.market.provider(HOST)).host_uri == gateway.uri
    assert (await console.market.provider(HOST)).host_uri == before
