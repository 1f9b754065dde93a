"""What GPUs cost and where they are free: one row for each card. Pure.

Prices are of bids of the last weeks, per GPU and hour, all over the network. What is free in
one region nobody says.
"""

import re
from collections.abc import Iterable

import msgspec

from toolkit.deploy.akash.pricing import fits
from toolkit.deploy.console.market import GpuPrice, GpuPrices, PlacementOptions, Provider
from toolkit.errors import CapacityError, UsageError
from toolkit.gpus import find_gpu, nearest_name
from toolkit.safetext import cleaned
from toolkit.sdl import GPUChoice

_CARD = re.compile(r"([a-z0-9][a-z0-9.-]*)(?:/([0-9]+)gi)?(?:/(pcie|sxm))?", re.IGNORECASE)
_SHOWN_REGIONS = 12


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU by model, memory and interface. Prices are US dollars per GPU and hour, None where
    nobody has bid with it; `free` are those free now, `free_on_a_node` the most of them in one
    machine (None: not known), `providers` who has them."""

    vendor: str
    model: str
    ram: str
    interface: str
    usd_min: float | None
    usd_median: float | None
    usd_max: float | None
    free: int | None
    free_on_a_node: int | None
    providers: int


def cards(
    prices: GpuPrices,
    options: PlacementOptions,
    wanted: Iterable[str] = (),
    *,
    providers: Iterable[Provider] | None = None,
) -> list[Card]:
    """The cards that there are, the cheapest first, those without a price last.

    `wanted` names those to show, as `a100`, `a100/80Gi` or `a100/80Gi/sxm`, all for none. With
    `providers`, only theirs. `UsageError` for a name that is no GPU's, `CapacityError` for one
    that nobody has.
    """
    choices = tuple(map(_parsed, wanted))
    for choice in choices:
        _check_known(choice, prices)
    shown = [each for each in prices.models if not choices or _fits_any(choices, each)]
    there = None if providers is None else tuple(providers)
    found = [card for each in shown if (card := _card(each, options, there)).providers]
    if choices and not found:
        raise CapacityError("nobody has such a GPU now", hint="see what there is: akash-llm market")
    return sorted(found, key=_rank)


def providers_in(region: str, providers: Iterable[Provider]) -> tuple[Provider, ...]:
    """Those that can be reached through the Console and say that they are there, in the words
    that an order is matched by. `CapacityError` with the regions that there are."""
    up = [each for each in providers if each.is_online and each.is_audited]
    found = tuple(each for each in up if each.region == region)
    if not found:
        known = sorted({cleaned(each.region) for each in up} - {""})
        raise CapacityError(
            f"no provider says that it is in {region!r}",
            hint=f"there are: {', '.join(known[:_SHOWN_REGIONS])}" if known else "leave it out",
        )
    return found


def _parsed(text: str) -> GPUChoice:
    found = _CARD.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} names no GPU", hint="write it as a100 or a100/80Gi/sxm")
    model, gib, interface = found.groups(default="")
    return GPUChoice(model.lower(), f"{gib}Gi" if gib else "", interface.lower())


def _fits_any(choices: tuple[GPUChoice, ...], each: GpuPrice) -> bool:
    place = {"model": each.model, "ram": each.ram, "interface": each.interface}
    return any(fits(choice, **place) for choice in choices)


def _check_known(choice: GPUChoice, prices: GpuPrices) -> None:
    """`UsageError` for a name that neither the market nor the network's list has."""
    if find_gpu(choice.model) or any(each.model == choice.model for each in prices.models):
        return
    meant = nearest_name(choice.model)
    raise UsageError(
        f"no provider offers a GPU called {choice.model!r}",
        hint=f"did you mean {meant}?" if meant else "see what there is: akash-llm market",
    )


def _card(price: GpuPrice, options: PlacementOptions, there: tuple[Provider, ...] | None) -> Card:
    usd = price.price
    free, number = price.availability.available, price.provider_availability.total
    return Card(
        vendor=cleaned(price.vendor),
        model=cleaned(price.model),
        ram=cleaned(price.ram),
        interface=cleaned(price.interface),
        usd_min=round(float(usd.min), 4) if usd else None,
        usd_median=round(float(usd.med), 4) if usd else None,
        usd_max=round(float(usd.max), 4) if usd else None,
        free=free if there is None else None,
        free_on_a_node=_most_on_a_node(price, options) if there is None else None,
        providers=number if there is None else sum(_has(each, price) for each in there),
    )


def _most_on_a_node(price: GpuPrice, options: PlacementOptions) -> int | None:
    """What the Console says of the card, whose interface it does not always name."""
    known = [
        variant.max_node_free_units
        for vendor in options.gpus
        for model in vendor.models
        for variant in model.variants
        if model.name == price.model
        and (variant.memory or price.ram) == price.ram
        and (variant.interface or price.interface) == price.interface
    ]
    return max((each for each in known if each is not None), default=None)


def _has(provider: Provider, price: GpuPrice) -> bool:
    wanted = (price.model, price.ram, price.interface)
    return any((gpu.model, gpu.ram, gpu.interface) == wanted for gpu in provider.gpu_models)


def _rank(card: Card) -> tuple[bool, float, str, str, str]:
    return (
        card.usd_median is None,
        card.usd_median or 0.0,
        card.model,
        card.ram,
        card.interface,
    )
