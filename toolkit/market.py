"""What GPUs cost on the Akash network and where they are free, asked once and then filtered.

Nothing here needs a key, and none is sent.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from toolkit.deploy.akash.access import console_client
from toolkit.deploy.akash.gpu_market import Card, cards, providers_in
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.market import GpuPrices, PlacementOptions, Provider
from toolkit.errors import EndpointError

NOTE = "Prices are those of bids of the last weeks, all over the network; they are no quotes."


class Market(msgspec.Struct, frozen=True):
    """The market as the Console told it at one moment."""

    prices: GpuPrices
    options: PlacementOptions
    providers: tuple[Provider, ...] = ()

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions in which providers are that can be rented from."""
        return tuple(sorted({region for each in self._usable() if (region := _region(each))}))

    def cards(
        self, gpus: Iterable[str] = (), *, region: str = "", min_ram_gib: int = 0
    ) -> list[Card]:
        """The GPUs, the cheapest first; those that are named, of providers in a region, with so
        much memory. `UsageError` for a name that is none, `CapacityError` for what nobody has."""
        there = providers_in(region, self.providers) if region else None
        found = cards(self.prices, self.options, gpus, providers=there)
        return [card for card in found if ram_gib(card) >= min_ram_gib]

    def _usable(self) -> list[Provider]:
        return [each for each in self.providers if each.is_online and each.is_audited]


async def look(*, with_providers: bool = True) -> Market:
    """Ask the Console. `EndpointError` where it does not answer, `ConfigError` for an address
    that is no Console's. Regions are known only with the providers."""
    async with console_client(needs_key=False) as console:
        asked = console.market.providers() if with_providers else _nobody()
        providers, prices, options = await asyncio.gather(
            asked, console.market.gpu_prices(), _options(console)
        )
    return Market(prices, options, providers)


def ram_gib(card: Card) -> int:
    """The memory of a card in GiB; 0 where it does not say."""
    digits = card.ram.lower().removesuffix("gi")
    return int(digits) if digits.isdecimal() else 0


async def _nobody() -> tuple[Provider, ...]:
    return ()


async def _options(console: ConsoleClient) -> PlacementOptions:
    try:
        return await console.market.placement_options()
    except EndpointError:  # an older Console has no such call
        return PlacementOptions()


def _region(provider: Provider) -> str:
    return next((each.value for each in provider.attributes if each.key == "region"), "")
