"""The plan for a rented endpoint: an offer that a person can read, and say yes to."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from toolkit.deploy.akash import pricing
from toolkit.deploy.akash.access import KEY_VARIABLE, unset_variables
from toolkit.deploy.akash.demand import Demand, demanded
from toolkit.deploy.akash.preview import Preview, previewed
from toolkit.deploy.akash.screening import Answer, screened
from toolkit.deploy.akash.sealed import secret_variables
from toolkit.deploy.base import Intent, Limit, Offer, Plan, Price
from toolkit.deploy.console.account import FundingConfig
from toolkit.deploy.console.amounts import balance_usd, uact_in
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.market import GpuPrices, Provider, ScreenedProvider
from toolkit.deploy.table import usd
from toolkit.errors import BudgetError, EndpointError

SHOWN_OFFERS = 8
_PLACES = ("location-region", "region")


class Market(msgspec.Struct, frozen=True):
    """What the Console said; None where it could not. `is_newer` is how it treats money."""

    answer: Answer
    providers: tuple[Provider, ...]
    prices: GpuPrices | None
    funding: FundingConfig | None
    free_usd: Decimal | None
    remarks: tuple[str, ...]

    @property
    def is_newer(self) -> bool:
        return self.funding is not None


async def planned(intent: Intent, console: ConsoleClient) -> Plan:
    """What renting would take, cost and mean; orders nothing.

    Raises what `demanded` raises, and `EndpointError` where the Console does not answer at all.
    """
    demand = await demanded(intent)
    preview = previewed(demand.sdl)
    market = await _asked(console, demand, preview)
    expected = pricing.expected(demand.inputs.gpu, market.prices, intent.max_usd_per_hour)
    worst = pricing.worst_case_usd(intent, is_newer=market.is_newer)
    return Plan(
        intent=demand.intent,
        resources=demand.resources,
        price=None if expected.usd_per_hour is None else Price.of_hour(expected.usd_per_hour),
        worst_case_usd=worst,
        offers=tuple(_offers(market)),
        limits=tuple(_limits(intent, is_newer=market.is_newer)),
        privacy=tuple(_privacy(demand)),
        notices=(
            *_missing(intent),
            *_who_could(market),
            *expected.notices,
            *_money(market, expected.usd_per_hour, worst),
            *preview.differences,
            *demand.notices,
            *_course(),
        ),
        sdl=demand.sdl,
    )


# -- asking


async def _asked(console: ConsoleClient, demand: Demand, preview: Preview) -> Market:
    funding = await console.funding_config()
    answer = await screened(console.market, preview.sdl, demand.inputs.gpu)
    owners = [each.owner for each in answer.providers or ()]
    providers = await console.market.providers(owners) if owners else ()
    try:
        prices = await console.market.gpu_prices() if demand.inputs.gpu else None
    except EndpointError:
        prices = None
    free_usd, remarks = await _balance(console)
    return Market(answer, tuple(providers), prices, funding, free_usd, remarks)


async def _balance(console: ConsoleClient) -> tuple[Decimal | None, tuple[str, ...]]:
    """What the account holds, or why that is not known."""
    if not console.has_key:
        return None, (
            f"Deploying needs the key of an account: set {KEY_VARIABLE} (console.akash.network,"
            " Settings, API Keys).",
        )
    deployments = await console.deployments()
    escrow = sum((uact_in(each.escrow_account.state.funds) for each in deployments), Decimal(0))
    try:
        return balance_usd(await console.balances(), escrow), ()
    except BudgetError as error:
        return None, (f"{error.message} {error.hint}",)


# -- what a person reads


def _offers(market: Market) -> Iterator[Offer]:
    """Who could take it now, the most reliable first."""
    known = {provider.owner: provider for provider in market.providers}
    found = [(each, known.get(each.owner)) for each in market.answer.providers or ()]
    found.sort(key=lambda pair: (-_uptime(pair[1]), pair[0].owner))
    for screened_one, provider in found[:SHOWN_OFFERS]:
        yield _offer(screened_one, provider)


def _uptime(provider: Provider | None) -> float:
    return (provider.uptime7d or 0.0) if provider is not None else 0.0


def _offer(asked: ScreenedProvider, provider: Provider | None) -> Offer:
    is_open = any(incident.has_open_incident for incident in asked.incidents)
    gpus = provider.gpu_models if provider is not None else ()
    return Offer(
        provider=asked.owner,
        name=asked.organization or (provider.organization if provider else None) or "",
        region=_region(asked, provider),
        gpu=", ".join(sorted({f"{gpu.model} {gpu.ram}".strip() for gpu in gpus})),
        uptime=provider.uptime7d if provider is not None else None,
        remark="it has an incident now" if is_open else "",
    )


def _region(asked: ScreenedProvider, provider: Provider | None) -> str:
    if provider is None:
        return asked.location or ""
    stated = [
        each.value for each in provider.attributes if each.key in ("location-region", "region")
    ]
    return next(iter(stated), asked.location or provider.ip_region or "")


def _who_could(market: Market) -> Iterator[str]:
    providers = market.answer.providers
    if providers is None:
        yield "The Console does not say who could take it now: bids will tell."
    elif len(providers) > SHOWN_OFFERS:
        yield f"{len(providers)} providers could take it now; {SHOWN_OFFERS} are shown."
    yield from market.answer.reasons


def _limits(intent: Intent, *, is_newer: bool) -> Iterator[Limit]:
    hours = pricing.whole_hours(intent.runtime_hours)
    if intent.max_usd_per_hour is not None:
        yield Limit(f"no bid above {usd(intent.max_usd_per_hour)} per hour is taken", True)
    if hours is not None:
        end = f"the Console ends it {hours} h after its lease begins"
        yield Limit(end if is_newer else "it ends when its deposit is used up", True)
        if not is_newer:
            yield Limit(f"it is ended after {intent.runtime_hours:g} h", False)
    if intent.max_usd_total is not None:
        yield Limit(f"it is ended when it has cost {usd(intent.max_usd_total)} in all", False)
    if intent.idle_minutes is not None:
        yield Limit(f"it is ended when nobody asks for {intent.idle_minutes:g} min", False)
    yield Limit("a notebook run that fails closes what it opened", False)


def _privacy(demand: Demand) -> Iterator[str]:
    yield (
        "The provider runs the machine and its ingress ends TLS: it can read prompts and answers."
        " Nobody else can. Confidential hardware narrows that: akash-llm sdl render --tee cpu."
    )
    yield (
        "The SDL, which holds the model's name and the digest of the key, is seen by the Console"
        " and the provider, and its resources by everybody on the chain. The key itself stays here."
    )
    if demand.sealed:
        names = ", ".join(demand.sealed)
        yield (
            f"{names}: sealed on this machine; the Console opens it for the provider, and both can"
            " read it."
        )


def _missing(intent: Intent) -> Iterator[str]:
    caps = pricing.missing_caps(intent)
    if caps:
        yield f"This cannot be deployed yet: give {' and '.join(caps)}."
    unset = unset_variables(tuple(secret_variables(intent).values()))
    if unset:
        yield f"Not set in this environment, and needed to deploy: {', '.join(unset)}."


def _money(market: Market, usual: Decimal | None, worst: Decimal | None) -> Iterator[str]:
    yield from market.remarks
    if market.funding is not None:
        yield pricing.set_aside(market.funding, usual)
        first = Decimal(str(market.funding.default_deposit_usd))
    else:
        yield pricing.older_funding(worst)
        first = worst or pricing.OLDER_DEPOSIT_USD
    if market.free_usd is not None:
        short = pricing.shortage(market.free_usd, first, worst)
        if short is not None:
            yield short


def _course() -> Sequence[str]:
    """How it goes, and what if it fails."""
    return (
        "Providers bid within a minute or two; a bid holds for five minutes. If one fails after"
        " that, its lease is closed and the next is tried, within the same worst case.",
        "A provider ends what does not run after some minutes: an image that is slow to pull can"
        " be why.",
    )
