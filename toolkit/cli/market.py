"""`akash-llm market`: what GPUs cost on the Akash network, and how many are free."""

from collections.abc import Iterator

import click
import msgspec

from toolkit.cli import loop
from toolkit.deploy.akash.gpu_market import Card
from toolkit.deploy.table import columns
from toolkit.market import NOTE, look

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
    there = loop.run(look(with_providers=bool(region)))
    found = there.cards(gpus, region=region)
    if as_json:
        for card in found:
            click.echo(msgspec.json.encode(card).decode())
        return
    for line in _table(found):
        click.echo(line)


def _table(found: list[Card]) -> Iterator[str]:
    if not found:
        yield "no GPUs"
        return
    yield columns([_HEADS, *map(_row, found)])
    yield ""
    yield NOTE


def _row(card: Card) -> tuple[str, ...]:
    usd = (card.usd_median, card.usd_min, card.usd_max)
    prices = ("-" if each is None else f"{each:.3f}" for each in usd)
    free = ("-" if each is None else str(each) for each in (card.free, card.free_on_a_node))
    return (card.model, card.ram, card.interface, *prices, *free, str(card.providers))
