"""`akash-llm market`: what GPUs cost on the Akash network, and how many are free."""

from collections.abc import Iterator

import click
import msgspec

from toolkit.cli import loop
from toolkit.deploy.akash.access import console_client
from toolkit.deploy.akash.gpu_market import Card, cards, providers_in
from toolkit.deploy.console.market import PlacementOptions
from toolkit.deploy.table import columns
from toolkit.errors import EndpointError

_HEADS = (
    "GPU",
    "MEMORY",
    "INTERFACE",
    "MEDIAN $/H",
    "LEAST",
    "MOST",
    "FREE",
    "ON A NODE",
    "PROVIDERS",
)


@click.command()
@click.option("--gpu", "gpus", multiple=True, metavar="MODEL", help="Only this, as a100/80Gi.")
@click.option("--region", metavar="REGION", default="", help="Only what providers there have.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def market(gpus: tuple[str, ...], region: str, as_json: bool) -> None:
    """List the GPUs of the Akash network, the cheapest first. Needs no key.

    Prices are US dollars per GPU and hour, from bids of the last weeks. AKASH_LLM_CONSOLE names
    another Console than Akash's own.
    """
    found = loop.run(_asked(gpus, region))
    if as_json:
        for card in found:
            click.echo(msgspec.json.encode(card).decode())
        return
    for line in _table(found):
        click.echo(line)


async def _asked(gpus: tuple[str, ...], region: str) -> list[Card]:
    async with console_client(needs_key=False) as console:
        there = None
        if region:
            there = providers_in(region, await console.market.providers())
        prices = await console.market.gpu_prices()
        try:
            options = await console.market.placement_options()
        except EndpointError:  # an older Console has no such call
            options = PlacementOptions()
        return cards(prices, options, gpus, providers=there)


def _table(found: list[Card]) -> Iterator[str]:
    if not found:
        yield "no GPUs"
        return
    yield columns([_HEADS, *map(_row, found)])
    yield ""
    yield "Prices are those of bids of the last weeks, all over the network; they are no quotes."


def _row(card: Card) -> tuple[str, ...]:
    usd = (card.usd_median, card.usd_min, card.usd_max)
    prices = ("-" if each is None else f"{each:.3f}" for each in usd)
    free = ("-" if each is None else str(each) for each in (card.free, card.free_on_a_node))
    return (card.model, card.ram, card.interface, *prices, *free, str(card.providers))
