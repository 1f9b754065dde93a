"""A plan for a deployment on the Akash network: everything that can be known before it costs.

Needs no key: without one the account is not looked at, and the plan says so. What a Console
cannot say (an older one, a part that is down) is said to be unknown; only a Console that
cannot be reached at all is an error.
"""

from collections.abc import Awaitable
from decimal import Decimal
from typing import TypeVar

import msgspec

from toolkit.deploy.akash import pricing, terms
from toolkit.deploy.akash.access import unset_variables
from toolkit.deploy.akash.demand import Demand, demanded
from toolkit.deploy.akash.offers import best_offers
from toolkit.deploy.akash.preview import Preview, previewed
from toolkit.deploy.akash.screening import Answer, screened
from toolkit.deploy.akash.sealed import secret_variables
from toolkit.deploy.base import Intent, Offer, Plan, Price
from toolkit.deploy.console.account import FundingConfig
from toolkit.deploy.console.amounts import balance_usd, uact_in
from toolkit.deploy.console.catalogue import Catalogue
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.market import GpuPrices, Provider
from toolkit.errors import BudgetError, ConfigError, EndpointError, RequestRefused

# So many addresses are asked for by name; for more, the whole list is shorter to ask for.
_MOST_ADDRESSES = 40

T = TypeVar("T")


class _Market(msgspec.Struct, frozen=True):
    """What the market says; None and empty where it does not."""

    answer: Answer
    offers: tuple[Offer, ...]
    prices: GpuPrices | None


class _Account(msgspec.Struct, frozen=True):
    """What has to be done about the account before ordering, and what to know of it."""

    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


async def planned(intent: Intent, console: ConsoleClient) -> Plan:
    """What deploying the intent would take and cost, and who could do it now. Orders nothing,
    and writes nothing but the key file of a name that has none.

    `UsageError`, `ConfigError`, `CapacityError` and `BudgetError` for an intent that cannot be
    deployed so; `CredentialsError` for a key that the Console refuses; `EndpointError` where it
    cannot be reached.
    """
    demand = await demanded(intent)
    preview = previewed(demand.sdl)
    funding = await console.funding_config()
    _check_seals(demand, funding)
    market = await _looked_at(console.market, demand, preview)
    account = await _account(console, demand.intent, funding)
    cap, is_newer = demand.intent.max_usd_per_hour, funding is not None
    expected = pricing.expected(demand.inputs.gpu, market.prices, cap)
    unset = unset_variables(tuple(secret_variables(intent).values()))
    return Plan(
        intent=demand.intent,
        resources=demand.resources,
        price=None if expected.usd_per_hour is None else Price.of_hour(expected.usd_per_hour),
        worst_case_usd=pricing.worst_case_usd(demand.intent, is_newer=is_newer),
        offers=market.offers,
        availability=_availability(market),
        missing=(
            *terms.missing(demand.intent, has_key=console.has_key, unset=unset),
            *account.missing,
        ),
        limits=terms.limits(demand.intent, is_newer=is_newer),
        privacy=terms.privacy(demand.intent, demand.sealed),
        notices=(
            *expected.notices,
            _funding(demand.intent, funding),
            *account.notices,
            *demand.notices,
            *preview.differences,
            *terms.CLOCKS,
        ),
        sdl=demand.sdl,
    )


def _check_seals(demand: Demand, funding: FundingConfig | None) -> None:
    if demand.sealed and funding is None:
        raise ConfigError(
            f"This Console is an older one that seals no secrets: {', '.join(demand.sealed)} would "
            "stand in the order for all who read it.",
            hint="Use a public image and a model that needs no token, or another Console.",
        )


# -- the market


async def _looked_at(market: Catalogue, demand: Demand, preview: Preview) -> _Market:
    gpu = demand.inputs.gpu
    answer = await screened(market, preview.sdl, gpu)
    could = answer.providers
    few = could is not None and 0 < len(could) <= _MOST_ADDRESSES
    owners = [each.owner for each in could or ()] if few else []
    is_needed = could is None or bool(could)
    known = await _known(market.providers(owners)) if is_needed else None
    providers: tuple[Provider, ...] = known or ()
    prices = await _known(market.gpu_prices()) if gpu is not None else None
    return _Market(answer, best_offers(could, providers, gpu), prices)


async def _known(asked: Awaitable[T]) -> T | None:
    """What a call of the market gives, None where the Console cannot say."""
    try:
        return await asked
    except EndpointError:
        return None


def _availability(market: _Market) -> tuple[str, ...]:
    """Why those that could take it are few, or how many more there are."""
    could = market.answer.providers
    if could is None:
        return (
            "The Console cannot say now who has room for it: whether bids come is only seen when "
            "it is ordered. Without bids it costs nothing, and the first deposit comes back.",
        )
    if len(could) > len(market.offers):
        shown = f"the {len(market.offers)} most dependable are shown"
        return (f"{len(could)} providers could take it now; {shown}.",)
    return market.answer.reasons


# -- the account


async def _account(
    console: ConsoleClient, intent: Intent, funding: FundingConfig | None
) -> _Account:
    """What there is to say about the account's balance."""
    if not console.has_key:
        return _Account()
    try:
        free = await _free_usd(console)
    except (BudgetError, RequestRefused) as error:
        told = f"How much the account holds is not known: {error.message} {error.hint}"
        return _Account(notices=(told.strip(),))
    worst = pricing.worst_case_usd(intent, is_newer=funding is not None)
    if missing := pricing.missing_money(free, _first_usd(funding, worst)):
        return _Account(missing=missing)
    return _Account(notices=pricing.scarce_money(free, worst))


async def _free_usd(console: ConsoleClient) -> Decimal:
    balances = await console.balances()
    held = [each.escrow_account.state.funds for each in await console.deployments()]
    return balance_usd(balances, sum((uact_in(funds) for funds in held), Decimal(0)))


def _first_usd(funding: FundingConfig | None, worst_usd: Decimal | None) -> Decimal:
    """What ordering takes at once: at an older Console all that it may cost."""
    if funding is None:
        return worst_usd if worst_usd is not None else pricing.OLDER_DEPOSIT_USD
    return Decimal(str(funding.default_deposit_usd))


def _funding(intent: Intent, funding: FundingConfig | None) -> str:
    if funding is None:
        return pricing.older_funding(pricing.worst_case_usd(intent, is_newer=False))
    return pricing.set_aside(funding, intent.max_usd_per_hour)
