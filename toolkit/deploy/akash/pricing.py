"""The money of a plan: what is asked for at most, what to expect, and the worst case. Pure.

A cap per hour becomes the highest price per block that stays under it when blocks are fast
(5.8 s), so that cap × hours bounds what can be spent, whatever the network does.
"""

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from toolkit.deploy.base import Intent
from toolkit.deploy.console.account import FundingConfig
from toolkit.deploy.console.amounts import price_ceiling
from toolkit.deploy.console.market import GpuPrice, GpuPrices
from toolkit.deploy.table import usd
from toolkit.errors import BudgetError, UsageError
from toolkit.sdl.inputs import GPUChoice, GPURequest, RenderInputs
from toolkit.sdl.provider import MAX_PRICE

# What the Console takes as the first limit of a deployment; it is raised while that runs.
LONGEST_HOURS = 48
# The least that an older Console takes as the deposit of a deployment.
OLDER_DEPOSIT_USD = Decimal("0.5")
# A gateway computes no model: so much of the price is allowed for it.
_GATEWAY_PARTS = 11
_WITHOUT_CAP = RenderInputs()


class Ceilings(msgspec.Struct, frozen=True):
    """The most that one replica of each service may cost, in uact per block; `gateway` is 0
    where there is none."""

    engine: int
    gateway: int = 0


class Expected(msgspec.Struct, frozen=True):
    """About what it will cost, None where nothing is known, and what to say about that."""

    usd_per_hour: Decimal | None
    notices: tuple[str, ...]


# -- caps


def check_caps(intent: Intent) -> None:
    """`BudgetError` for an intent that nothing may be deployed for: one without caps."""
    if intent.max_usd_per_hour is None or intent.runtime_hours is None:
        raise BudgetError(
            f"{intent.name} has no {' and no '.join(missing_caps(intent))}: without both nothing "
            "is deployed on Akash.",
            hint="Plan again with both, such as max_usd_per_hour=0.60 and runtime_hours=4.",
        )


def missing_caps(intent: Intent) -> tuple[str, ...]:
    """The names of the caps that are needed and not there."""
    caps = {"max_usd_per_hour": intent.max_usd_per_hour, "runtime_hours": intent.runtime_hours}
    return tuple(name for name, value in caps.items() if value is None)


def check_amounts(intent: Intent) -> None:
    """`UsageError` for caps that cannot be meant."""
    amounts = {
        "max_usd_per_hour": intent.max_usd_per_hour,
        "max_usd_total": intent.max_usd_total,
        "idle_minutes": intent.idle_minutes,
    }
    for name, value in amounts.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} cannot be {value}", hint="Give an amount above 0.")


def whole_hours(runtime_hours: float | None) -> int | None:
    """The limit that the Console keeps: in whole hours, rounded up. `UsageError` for one that
    cannot be meant or that the Console does not take."""
    if runtime_hours is None:
        return None
    if not (math.isfinite(runtime_hours) and runtime_hours > 0):
        raise UsageError(f"runtime_hours cannot be {runtime_hours}", hint="Give 1 to 48 hours.")
    if runtime_hours > LONGEST_HOURS:
        raise UsageError(
            f"the Console starts nothing for longer than {LONGEST_HOURS} hours, and "
            f"{runtime_hours:g} were asked for",
            hint=f"Ask for {LONGEST_HOURS}, and extend it while it runs: each time by at most "
            f"{LONGEST_HOURS} hours.",
        )
    return math.ceil(runtime_hours)


def ceilings(cap_usd: Decimal | None, *, count: int = 1, has_gateway: bool = False) -> Ceilings:
    """What each service may cost so that `count` replicas of all stay under the cap together;
    without a cap what an SDL says by default. `BudgetError` where nothing is left for one."""
    if cap_usd is None:
        default = _WITHOUT_CAP
        return Ceilings(int(default.price), int(default.gateway_price) if has_gateway else 0)
    each = price_ceiling(cap_usd) // count
    gateway = min(max(1, each // _GATEWAY_PARTS), MAX_PRICE) if has_gateway else 0
    engine = min(each - gateway, MAX_PRICE)
    if engine < 1:
        raise BudgetError(
            f"${cap_usd} an hour is less than the smallest price that can be asked for.",
            hint="Allow some more: small models without a GPU cost a few cents an hour.",
        )
    return Ceilings(engine, gateway)


# -- what to expect


def expected(gpu: GPURequest | None, prices: GpuPrices | None, cap: Decimal | None) -> Expected:
    """What the market says about the GPUs that will do, as far as the cap allows."""
    if gpu is None:
        known = "Nobody publishes what a machine without a GPU costs"
        return Expected(cap, (_unknown(known, cap),))
    cards = () if prices is None else tuple(_priced(gpu.models, prices.models))
    if not cards:
        known = "Nobody has offered these GPUs lately" if prices else "The Console names no prices"
        return Expected(cap, (_unknown(known, cap),))
    cheapest, median = min(cards, key=lambda card: (card[1], card[0]))
    usual = median * gpu.units
    notices = [_usual(gpu.units, len(gpu.models), cheapest, median)]
    if cap is not None and usual > cap:
        notices.append(
            f"That is more than the {usd(cap)} per hour that you allow: it may be that nobody "
            "offers it."
        )
    return Expected(usual if cap is None else min(usual, cap), tuple(notices))


def fits(card: GPUChoice, *, model: str, ram: str, interface: str) -> bool:
    """Whether a GPU as the market names it will do; its interface has a version (`sxm4`)."""
    is_kind = card.model == model and card.ram in ("", ram)
    return is_kind and interface.lower().startswith(card.interface)


def _priced(
    cards: tuple[GPUChoice, ...], market: Iterable[GpuPrice]
) -> Iterator[tuple[str, Decimal]]:
    for each in market:
        place = {"model": each.model, "ram": each.ram, "interface": each.interface}
        if each.price is not None and any(fits(card, **place) for card in cards):
            yield f"{each.model} {each.ram}".strip(), each.price.med


def _usual(units: int, kinds: int, card: str, median: Decimal) -> str:
    among = f", the cheapest of {kinds} kinds that will do," if kinds > 1 else ""
    each = " each" if units > 1 else ""
    return (
        f"The price is what {units} × {card}{among} cost lately: {usd(median)} per hour{each}, "
        "the median of bids of the last weeks. It is no quote: the bids decide, and your cap."
    )


def _unknown(known: str, cap: Decimal | None) -> str:
    if cap is None:
        return f"{known}: what it will cost is only known when bids come."
    return f"{known}: the price shown is the most that you allow."


# -- the worst case


def worst_case_usd(intent: Intent, *, is_newer: bool) -> Decimal | None:
    """The most that can be spent with this program gone; None where nothing limits it.

    The newer Console ends it after whole hours, an older one when its deposit is used up.
    `max_usd_total` does not count: it holds only while somebody watches.
    """
    hours = whole_hours(intent.runtime_hours)
    if intent.max_usd_per_hour is None or hours is None:
        return None
    most = intent.max_usd_per_hour * hours
    return most if is_newer else max(most, OLDER_DEPOSIT_USD)


def set_aside(config: FundingConfig, usd_per_hour: Decimal | None) -> str:
    """What the newer Console takes out of the balance for it, and what becomes of that."""
    first = Decimal(str(config.default_deposit_usd))
    runway = config.target_runway_hours
    most = ""
    if usd_per_hour is not None:
        most = f" ({usd(Decimal(str(runway)) * usd_per_hour)} at most)"
    return (
        f"Of the account's balance {usd(first)} is set aside when it is ordered, and up to "
        f"{runway:g} hours of its price{most} when it starts, however long it may run. That is no "
        "cost: what is not used comes back when it ends."
    )


def older_funding(worst_usd: Decimal | None) -> str:
    """How money goes at an older Console."""
    deposit = "its deposit" if worst_usd is None else f"its deposit of {usd(worst_usd)}"
    return (
        "This Console is an older one that ends nothing by the hour. Its automatic funding is "
        f"turned off before the lease, so that it ends when {deposit} is used up: later than "
        "asked for, where it costs less than the cap."
    )


def missing_money(free_usd: Decimal, first_usd: Decimal) -> tuple[str, ...]:
    """What has to be added to a balance before anything can be ordered, if something has."""
    if free_usd >= first_usd:
        return ()
    return (
        f"The account holds {usd(free_usd)}, and ordering takes {usd(first_usd)}: add "
        f"{usd(first_usd - free_usd)} at console.akash.network.",
    )


def scarce_money(free_usd: Decimal, worst_usd: Decimal | None) -> tuple[str, ...]:
    """What to say of a balance that may be used up before the time is."""
    if worst_usd is None or free_usd >= worst_usd:
        return ()
    return (
        f"The account holds {usd(free_usd)}, less than the {usd(worst_usd)} that it may cost: it "
        "ends earlier, should the money be used up.",
    )
