"""The plan as a person gets it, from a Console that stands in."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.support.console import samples
from tests.support.console.faults import answered
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation, Host
from tests.support.console.world import World
from toolkit import paths
from toolkit.deploy.akash.access import console_client
from toolkit.deploy.akash.planning import planned
from toolkit.deploy.base import Intent, Limit, Plan
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.updates import NewDeployment
from toolkit.errors import ConfigError, CredentialsError, EndpointError

CPU = "ghcr.io/you/akash-llm-server:1"
CUDA = "ghcr.io/you/akash-llm-server-cuda:1"


def intent(**asked: Any) -> Intent:
    caps = {"max_usd_per_hour": Decimal("0.90"), "runtime_hours": 4}
    base = {"name": "mine", "target": "console", "image": CUDA, "model": "eight:8b"}
    return Intent(**{**base, **caps, **asked})


A100 = intent(model="seventy:70b", gpus=("a100/80Gi",))


@pytest.fixture
async def public(server: ConsoleServer) -> AsyncIterator[ConsoleClient]:
    """A client without a key."""
    async with ConsoleClient(url=server.url) as client:
        yield client


def has_notice(plan: Plan, text: str) -> bool:
    return any(text in notice for notice in plan.notices)


# -- the whole


@pytest.mark.goal(5)
async def test_a_plan_is_an_offer(models: None, console: ConsoleClient) -> None:
    plan = await planned(A100, console)
    assert plan.missing == ()
    assert plan.price is not None
    assert plan.price.usd_per_hour == Decimal("0.3003")
    assert plan.worst_case_usd == Decimal("3.60")
    alone = {limit.what: limit.holds_alone for limit in plan.limits}
    assert all(alone.values()) and len(alone) == 3
    text = str(plan)
    for told in (
        "a provider of the Akash network",
        "1 × a100 80Gi",
        "at most $3.60",
        "ends at the latest 4 hours after it starts: the Console sees to that (holds by itself)",
        "The provider runs the machine",
        "another provider is tried",
    ):
        assert told in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 110


async def test_ordering_it_is_left_to_others(
    models: None, console: ConsoleClient, server: ConsoleServer, world: World
) -> None:
    await planned(A100, console)
    assert {seen.method for seen in server.seen if seen.path != "/v1/bid-screening"} == {"GET"}
    assert not any("settings" in seen.path for seen in server.seen)
    assert not world.deployments and world.balance == 100_000_000


async def test_asked_twice_it_is_the_same_to_the_byte(models: None, console: ConsoleClient) -> None:
    first, second = [await planned(A100, console) for _ in range(2)]
    assert first.to_json() == second.to_json()
    assert Plan.from_json(first.to_json()) == first


async def test_the_key_is_in_no_part_of_it(models: None, console: ConsoleClient) -> None:
    plan = await planned(A100, console)
    key = paths.key_file("mine").read_text().strip()
    for artefact in (plan.to_json().decode(), str(plan), plan._repr_html_()):
        assert key not in artefact


async def test_the_sdl_of_a_plan_is_what_the_console_takes(
    models: None, console: ConsoleClient, world: World
) -> None:
    plan = await planned(A100, console)
    made = await console.create(NewDeployment(sdl=plan.sdl, runtime_limit_hours=4))
    world.advance(1)
    bids = {bid.id.provider for bid in await console.bids(made.dseq)}
    assert bids == {offer.provider for offer in plan.offers}


# -- who could take it


async def test_offers_have_names_and_the_most_dependable_is_first(
    models: None, console: ConsoleClient
) -> None:
    plan = await planned(A100, console)
    assert [offer.provider for offer in plan.offers][:2] == ["akash1singles", "akash1pairs2"]
    first = plan.offers[0]
    assert (first.name, first.region) == ("akash1singles.example.org", "eu-west")
    assert (first.gpu, first.uptime) == ("a100 80Gi sxm4", 0.999)
    assert "akash1singles.example.org  eu-west, a100 80Gi sxm4  up 99.9% of the time" in str(plan)


async def test_eight_offers_are_enough(models: None) -> None:
    hosts = [
        Host(address=f"akash1n{number}", gpu=samples.A100, uptime=0.9 + number / 1000)
        for number in range(50)
    ]
    async with _serving(World(hosts=hosts)) as console:
        plan = await planned(A100, console)
    assert [offer.provider for offer in plan.offers] == [f"akash1n{n}" for n in range(49, 41, -1)]
    assert plan.availability == (
        "50 providers could take it now; the 8 most dependable are shown.",
    )


async def test_nobody_has_it_and_the_reason_is_named(models: None, console: ConsoleClient) -> None:
    asked = intent(model="seventy:70b", gpus=("a100/80Gi/sxm",), region="us-east")
    plan = await planned(asked, console)
    assert plan.offers == ()
    assert "Without `interface: sxm`, 3 could; without `region: us-east`, 1" in plan.availability[0]
    assert "Who could run it now\n  - No provider can take this order now" in str(plan)


async def test_who_has_room_is_not_known(
    models: None, console: ConsoleClient, server: ConsoleServer
) -> None:
    server.script.add(*[answered("POST", "/v1/bid-screening", 503)] * 3)
    plan = await planned(A100, console)
    assert "cannot say now who has room" in plan.availability[0]
    owners = {offer.provider for offer in plan.offers}
    assert owners == {"akash1singles", *(host.address for host in samples.PAIRS)}
    assert {offer.remark for offer in plan.offers} == {"whether it has room now is not known"}


async def test_nothing_is_known_of_providers_and_prices(
    models: None, console: ConsoleClient, server: ConsoleServer
) -> None:
    for path in ("/v1/providers", "/v1/gpu-prices"):
        server.script.add(*[answered("GET", path, 503)] * 3)
    plan = await planned(A100, console)
    assert plan.offers[0].uptime is None and plan.offers[0].name
    assert plan.price is not None and plan.price.usd_per_hour == Decimal("0.90")
    assert "up to $0.90 per hour" in str(plan)
    assert has_notice(plan, "names no prices")


async def test_a_console_that_is_not_there(models: None, free_port: Any) -> None:
    async with ConsoleClient(url=f"http://127.0.0.1:{free_port()}") as console:
        with pytest.raises(EndpointError, match="cannot be reached"):
            await planned(A100, console)


# -- what is missing


@pytest.mark.goal(5)
async def test_without_caps_it_is_shown_and_cannot_be_deployed(
    models: None, console: ConsoleClient
) -> None:
    plan = await planned(intent(max_usd_per_hour=None, runtime_hours=None), console)
    assert plan.worst_case_usd is None
    (missing,) = plan.missing
    assert "no max_usd_per_hour and no runtime_hours" in missing and "$6.00 per hour" in missing
    text = str(plan)
    assert text.startswith("What is still missing") and "no limit" in text
    assert Plan.from_json(plan.to_json()) == plan


async def test_without_caps_and_prices_the_price_is_not_known(
    models: None, console: ConsoleClient
) -> None:
    asked = intent(model="smollm2:135m", image=CPU, max_usd_per_hour=None)
    plan = await planned(asked, console)
    assert plan.price is None
    assert "not known" in str(plan) and "not known" in plan._repr_html_()
    assert Plan.from_json(plan.to_json()) == plan


async def test_a_plan_needs_no_key_and_says_that_deploying_does(
    models: None, public: ConsoleClient, server: ConsoleServer
) -> None:
    plan = await planned(A100, public)
    assert plan.offers
    (missing,) = plan.missing
    assert "AKASH_API_KEY" in missing
    assert not any("x-api-key" in seen.headers for seen in server.seen)


async def test_a_key_that_is_refused(models: None, server: ConsoleServer) -> None:
    async with ConsoleClient("ac.sk.production.wrong", url=server.url) as console:
        with pytest.raises(CredentialsError):
            await planned(A100, console)


@pytest.mark.parametrize("says_dollars", [False, True])
async def test_a_balance_that_is_too_small(models: None, says_dollars: bool) -> None:
    world = World(hosts=samples.MARKET, balance_usd=0.2, says_dollars=says_dollars)
    async with _serving(world) as console:
        (missing,) = (await planned(A100, console)).missing
    assert "holds $0.20" in missing and "takes $0.50" in missing and "add $0.30" in missing


async def test_a_balance_that_may_be_used_up(models: None) -> None:
    async with _serving(World(hosts=samples.MARKET, balance_usd=2)) as console:
        plan = await planned(A100, console)
    assert plan.missing == ()
    assert has_notice(plan, "holds $2.00, less than the $3.60")


async def test_a_balance_in_an_unknown_unit_is_said(models: None) -> None:
    async with _serving(World(hosts=samples.MARKET, balance_usd=0.005)) as console:
        plan = await planned(A100, console)
    assert plan.missing == ()
    assert has_notice(plan, "dollars or millionths")


async def test_secrets_have_to_be_there_to_be_sealed(
    models: None, console: ConsoleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-token")
    asked = msgspec.structs.replace(A100, secrets=("HF_TOKEN",), registry="you@ghcr.io")
    plan = await planned(asked, console)
    (missing,) = plan.missing
    assert missing.startswith("AKASH_LLM_REGISTRY_PASSWORD is not set")
    assert any("HF_TOKEN and REGISTRY_PASSWORD: sealed" in each for each in plan.privacy)
    assert b"canary" not in plan.to_json()


# -- limits


async def test_what_only_holds_while_somebody_watches_is_called_so(
    models: None, console: ConsoleClient
) -> None:
    asked = msgspec.structs.replace(
        A100, runtime_hours=3.5, max_usd_total=Decimal(2), idle_minutes=20
    )
    plan = await planned(asked, console)
    assert plan.worst_case_usd == Decimal("3.60")  # max_usd_total does not hold by itself
    watched = [limit.what for limit in plan.limits if not limit.holds_alone]
    assert watched == [
        "ends 3.5 hours after it starts",
        "ends when it has cost $2.00 in all",
        "ends when nobody has used it for 20 minutes",
    ]
    assert (
        Limit("ends at the latest 4 hours after it starts: the Console sees to that", True)
        in plan.limits
    )


# -- an older Console


async def test_at_an_older_console_the_deposit_is_the_limit(
    models: None, old_console: ConsoleClient, old_world: World
) -> None:
    plan = await planned(A100, old_console)
    assert plan.worst_case_usd == Decimal("3.60")
    assert Limit("ends when its deposit of $3.60 is used up", True) in plan.limits
    assert Limit("ends 4 hours after it starts", False) in plan.limits
    assert has_notice(plan, "automatic funding is turned off before the lease")
    assert plan.offers and plan.missing == ()


async def test_at_an_older_console_the_whole_deposit_is_needed_at_once(models: None) -> None:
    world = World(hosts=samples.MARKET, generation=Generation.OLDER, balance_usd=1)
    async with _serving(world) as console:
        (missing,) = (await planned(A100, console)).missing
    assert "takes $3.60" in missing and "add $2.60" in missing


async def test_an_older_console_seals_nothing(models: None, old_console: ConsoleClient) -> None:
    asked = msgspec.structs.replace(A100, secrets=("HF_TOKEN",))
    with pytest.raises(ConfigError, match="seals no secrets: HF_TOKEN"):
        await planned(asked, old_console)


# -- the Console that is meant


async def test_the_console_and_its_key_come_from_the_environment(
    models: None, server: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKASH_LLM_CONSOLE", server.url)
    with pytest.raises(CredentialsError) as caught:
        console_client(needs_key=True)
    assert "AKASH_API_KEY" in caught.value.hint
    async with console_client(needs_key=False) as console:
        assert not console.has_key
        assert await console.market.providers()
    monkeypatch.setenv("AKASH_API_KEY", f" {server.key}\n")
    async with console_client(needs_key=True) as console:
        assert (await console.user()).username == "tester"


# -- strangers' text


async def test_what_providers_say_of_themselves_stays_text(
    models: None, server: ConsoleServer, console: ConsoleClient
) -> None:
    evil = {
        "owner": "akash1evil",
        "hostUri": "https://[",
        "location": "\u202eeu",
        "organization": "<img src=x>\x1b[31m\n" + "x" * 200,
        "incidents": [{"date": "2026-01-01", "incidentCount": 2}],
    }
    body = json.dumps({"providers": [evil]}).encode()
    server.script.add(*[answered("POST", "/v1/bid-screening", 200, body)] * 9)
    plan = await planned(A100, console)
    (offer,) = plan.offers
    assert len(offer.name) == 48 and "\n" not in offer.name and "\x1b" not in offer.name
    assert offer.region == "eu" and offer.remark == "2 incidents this week"
    assert "<img" not in plan._repr_html_()


class _serving:
    """A Console of that world, and a client with its key."""

    def __init__(self, world: World) -> None:
        self._server = ConsoleServer(world)

    async def __aenter__(self) -> ConsoleClient:
        self._server.__enter__()
        self._client = ConsoleClient(self._server.key, url=self._server.url)
        return self._client

    async def __aexit__(self, *error: Any) -> None:
        await self._client.aclose()
        self._server.__exit__(*error)
