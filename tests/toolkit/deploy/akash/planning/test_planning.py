"""The plan as a whole: an offer that a person can read, from what the Console says."""

from decimal import Decimal

import pytest

from tests.support.console import samples
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.akash.planning import planned
from toolkit.deploy.base import Intent, Plan
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.table import plan_html

IMAGE = "example.org/you/akash-llm-server:1"
CUDA = "example.org/you/akash-llm-server-cuda:1"

pytestmark = pytest.mark.usefixtures("models")


def intent(**given: object) -> Intent:
    made: dict[str, object] = {
        "name": "mine",
        "target": "console",
        "image": IMAGE,
        "max_usd_per_hour": Decimal("0.60"),
        "runtime_hours": 3.5,
    }
    return Intent(**(made | given))  # type: ignore[arg-type]


def _two_dollars() -> Intent:
    gpus = ("a100/80Gi",)
    return intent(model="eight:8b", image=CUDA, gpus=gpus, max_usd_per_hour=Decimal(2))


async def test_what_it_costs_at_most(console: ConsoleClient) -> None:
    plan = await planned(intent(), console)
    assert plan.worst_case_usd == Decimal("2.40")  # whole hours: 4
    text = " ".join(str(plan).split())
    assert "the Console ends it 4 h after its lease" in text
    assert "holds by itself" in text
    assert "$2.40" in text


async def test_who_could_take_it_and_for_how_much(console: ConsoleClient) -> None:
    plan = await planned(_two_dollars(), console)
    assert {offer.provider for offer in plan.offers} >= {h.address for h in samples.PAIRS}
    assert all("a100" in offer.gpu for offer in plan.offers)
    assert plan.price is not None and 0 < plan.price.usd_per_hour <= 2
    assert any("median" in notice for notice in plan.notices)


async def test_what_keeps_providers_away_is_said(console: ConsoleClient) -> None:
    wanted = intent(model="eight:8b", image=CUDA, gpus=("b200",))
    plan = await planned(wanted, console)
    assert plan.offers == ()
    assert any("No provider can take this order now" in notice for notice in plan.notices)


async def test_without_caps_it_is_shown_and_cannot_be_deployed(console: ConsoleClient) -> None:
    plan = await planned(intent(max_usd_per_hour=None, runtime_hours=None), console)
    assert plan.worst_case_usd is None
    assert "give max_usd_per_hour and runtime_hours" in plan.notices[0]


async def test_without_a_key_the_market_is_asked_all_the_same(server: ConsoleServer) -> None:
    async with ConsoleClient(None, url=server.url) as public:
        plan = await planned(intent(), public)
    assert plan.offers
    assert any("AKASH_API_KEY" in notice for notice in plan.notices)
    assert not any("x-api-key" in seen.headers for seen in server.seen)


async def test_an_older_console_is_held_by_the_deposit(old_console: ConsoleClient) -> None:
    plan = await planned(intent(), old_console)
    told = {limit.what: limit.holds_alone for limit in plan.limits}
    assert told["it ends when its deposit is used up"]
    assert not told["it is ended after 3.5 h"]
    assert any("older one" in notice for notice in plan.notices)


async def test_a_balance_that_is_too_small_is_said(console: ConsoleClient, world: World) -> None:
    world.balance = Decimal(100_000)  # ten cents
    plan = await planned(intent(), console)
    assert any("add $0.4" in notice for notice in plan.notices), plan.notices


async def test_secrets_that_are_not_set_are_named(
    console: ConsoleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    plan = await planned(intent(secrets=("HF_TOKEN",)), console)
    assert any("HF_TOKEN" in notice and "Not set" in notice for notice in plan.notices)
    assert "ac-secret://HF_TOKEN" in plan.sdl


async def test_it_can_be_kept_and_its_html_is_escaped(console: ConsoleClient) -> None:
    plan = await planned(intent(region="<b>"), console)
    assert Plan.from_json(plan.to_json()) == plan
    assert "<b>" not in plan_html(plan) and "&lt;b&gt;" in plan_html(plan)
