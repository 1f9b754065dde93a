"""`akash-llm market`: what GPUs cost on Akash lately, and how many are free."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

import click
import msgspec

from toolkit.cli import loop
from toolkit.deploy.akash.access import console_client
from toolkit.deploy.console.market import GpuPrice, GpuPrices, PlacementOptions
from toolkit.deploy.table import columns, usd
from toolkit.errors import EndpointError, UsageError
from toolkit.safetext import cleaned


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU on the market. Prices are US dollars per GPU and hour, None where nobody has bid;
    `free` is how many are free now, `free_on_a_node` the most on one machine, None where the
    Console does not say."""

    model: str
    ram: str
    interface: str
    min_usd: Decimal | None
    median_usd: Decimal | None
    max_usd: Decimal | None
    free: int
    free_on_a_node: int | None
    providers: int


@click.command()
@click.option("--gpu", "gpus", multiple=True, metavar="MODEL", help="Only this one; repeat.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def market(gpus: tuple[str, ...], as_json: bool) -> None:
    """Show GPUs with what they cost lately and how many are free, the cheapest first.

    Prices are of bids of the last weeks for one GPU and an hour. They are no quotes: `akash-llm
    plan --target console` asks for what you want. No key is needed.
    """
    found = loop.run(_cards(gpus))
    if as_json:
        for card in found:
            click.echo(msgspec.json.encode(card))
        return
    click.echo(cleaned(columns([_HEAD, *map(_row, found)])))


async def _cards(gpus: tuple[str, ...]) -> list[Card]:
    async with console_client(needs_key=False) as console:
        prices = await console.market.gpu_prices()
        try:
            options = await console.market.placement_options()
        except EndpointError:  # an older Console has no such call
            options = PlacementOptions()
    cards = sorted(cards_of(prices, options), key=_rank)
    known = {card.model for card in cards}
    unknown = [gpu for gpu in gpus if gpu not in known]
    if unknown:
        raise UsageError(
            f"nobody offers {', '.join(unknown)}", hint=f"There are: {', '.join(sorted(known))}"
        )
    return [card for card in cards if not gpus or card.model in gpus]


def cards_of(prices: GpuPrices, options: PlacementOptions) -> Iterator[Card]:
    """What is known of each GPU, put together."""
    for each in prices.models:
        price = each.price
        yield Card(
            model=each.model,
            ram=each.ram,
            interface=each.interface,
            min_usd=price.min if price else None,
            median_usd=price.med if price else None,
            max_usd=price.max if price else None,
            free=each.availability.available,
            free_on_a_node=max(_on_a_node(each, options), default=None),
            providers=each.provider_availability.available,
        )


def _on_a_node(card: GpuPrice, options: PlacementOptions) -> Iterable[int]:
    for vendor in options.gpus:
        for model in vendor.models:
            for variant in model.variants if model.name == card.model else ():
                is_same = (variant.memory or card.ram) == card.ram
                if is_same and variant.max_node_free_units is not None:
                    yield variant.max_node_free_units


def _rank(card: Card) -> tuple[bool, Decimal, str, str]:
    return card.median_usd is None, card.median_usd or Decimal(0), card.model, card.ram


_HEAD = (
    "GPU",
    "MEMORY",
    "INTERFACE",
    "USD/H FROM",
    "MEDIAN",
    "TO",
    "FREE",
    "ON A NODE",
    "PROVIDERS",
)


def _row(card: Card) -> tuple[str, ...]:
    prices = (card.min_usd, card.median_usd, card.max_usd)
    on_a_node = "?" if card.free_on_a_node is None else str(card.free_on_a_node)
    return (
        card.model,
        card.ram or "-",
        card.interface or "-",
        *("-" if price is None else usd(price) for price in prices),
        str(card.free),
        on_a_node,
        str(card.providers),
    )
