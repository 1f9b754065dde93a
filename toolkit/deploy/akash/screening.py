"""Who could take an order now, and if hardly anybody can, which condition it is.

The Console is asked what the order's groups would ask the network. Where few could take it, it
is asked again with one condition less each time: those whose absence brings providers are named.
A Console that cannot say makes the answer unknown, never an error.
"""

from collections.abc import Iterator

import msgspec

from toolkit.deploy.akash.pricing import fits
from toolkit.deploy.akash.questions import questions_of, relaxations
from toolkit.deploy.console.catalogue import Catalogue
from toolkit.deploy.console.market import GpuVariant, PlacementOptions, ScreenedProvider, Screening
from toolkit.errors import EndpointError
from toolkit.sdl import SDL, GPUChoice, GPURequest

# So few that the reason is worth knowing.
FEW = 3


class Answer(msgspec.Struct, frozen=True):
    """Who could take it, None where the Console cannot say, and what keeps others away."""

    providers: tuple[ScreenedProvider, ...] | None
    reasons: tuple[str, ...] = ()


async def screened(market: Catalogue, sdl: SDL, gpu: GPURequest | None) -> Answer:
    """Who could take all groups of the order. `sdl` is as the Console orders it (`previewed`),
    `gpu` what it asks for."""
    questions = questions_of(sdl)
    known: list[tuple[ScreenedProvider, ...]] = []
    for question in questions:
        answer = await _asked(market, question)
        if answer is None:
            return Answer(None)
        known.append(answer)
    owners = set.intersection(*({each.owner for each in answer} for answer in known))
    providers = tuple(each for each in known[0] if each.owner in owners)
    scarcest = min(range(len(known)), key=lambda number: len(known[number]))
    if len(known[scarcest]) >= FEW:
        return Answer(providers)
    node = await _node_reason(market, gpu)
    reasons = await _reasons(market, questions[scarcest], len(known[scarcest]))
    return Answer(providers, (*node, *reasons))


async def _asked(market: Catalogue, question: Screening) -> tuple[ScreenedProvider, ...] | None:
    try:
        return (await market.screen(question)).providers
    except EndpointError:
        return None


async def _reasons(market: Catalogue, question: Screening, found: int) -> tuple[str, ...]:
    """What each condition costs in providers, what is safe to do without first."""
    gains: list[tuple[bool, int, str]] = []
    for relaxed in relaxations(question):
        answer = await _asked(market, relaxed.question)
        if answer is not None and len(answer) > found:
            gains.append((relaxed.is_risky, -len(answer), relaxed.what))
    who = "No provider" if found == 0 else f"Only {found} provider{'s' if found > 1 else ''}"
    if not gains:
        return (
            f"{who} can take this order now, and no single condition is the reason. What is free "
            "changes: look again later, or ask for less.",
        )
    text = "; ".join(_gain(*gain) for gain in sorted(gains))
    return (f"{who} can take this order now. {text[0].upper()}{text[1:]}.",)


def _gain(is_risky: bool, negative: int, what: str) -> str:
    return f"{what}, {-negative} could" + (" (the model may not fit)" if is_risky else "")


# -- what is free on one node


async def _node_reason(market: Catalogue, gpu: GPURequest | None) -> tuple[str, ...]:
    if gpu is None:
        return ()
    try:
        options = await market.placement_options()
    except EndpointError:
        return ()
    return tuple(_node_sentence(gpu, options))


def _node_sentence(gpu: GPURequest, options: PlacementOptions) -> Iterator[str]:
    free = [
        variant.max_node_free_units
        for vendor in options.gpus
        for model in vendor.models
        for variant in model.variants
        if any(_may_be(card, model.name, variant) for card in gpu.models)
    ]
    numbers = [each for each in free if each is not None]
    if len(numbers) < len(free) or max(numbers, default=0) >= gpu.units:
        return
    kinds = " or ".join(f"{card.model} {card.ram}" for card in gpu.models[:3])
    others = " or others that will do" if len(gpu.models) > 3 else ""
    most = f"the most is {max(numbers)}" if any(numbers) else "none is free anywhere"
    yield f"No provider has {gpu.units} × {kinds}{others} free on one node: {most}."


def _may_be(card: GPUChoice, model: str, variant: GpuVariant) -> bool:
    """Whether a variant can be the card; what it does not say, it may be."""
    ram, interface = variant.memory or card.ram, variant.interface or card.interface
    return fits(card, model=model, ram=ram, interface=interface)
