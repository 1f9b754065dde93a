"""What the ledger knows of an endpoint that is measured: its price, and where it runs."""

from typing import TYPE_CHECKING

import httpx2

from toolkit.bench.subject import Facts, this_machine
from toolkit.client import Endpoint
from toolkit.errors import ToolkitError
from toolkit.transport import is_loopback

if TYPE_CHECKING:
    from toolkit.deploy.keeper import Keeper


async def facts_of(endpoint: Endpoint) -> Facts:
    """The facts of an endpoint of ours; of any other, at most that it is this machine.

    The price is that of its lease, if it has one. An account that does not answer leaves it
    out: a benchmark does without.
    """
    from toolkit.deploy.akash.orders import Orders
    from toolkit.deploy.keeper import Keeper

    keeper = Keeper()
    record = keeper.ledger.find(endpoint.name) if endpoint.name else None
    if record is None:
        return Facts(hardware=this_machine() if is_loopback(httpx2.URL(endpoint.url).host) else "")
    intent = record.intent
    runs_here = record.target in ("local", "compose")
    provider = ""
    price: float | None = None
    if not runs_here:
        orders = Orders(keeper.ledger).open_of(record.uid)
        provider = next((order.provider for order in orders if order.provider), "")
        price = await _price(keeper, record.name)
    return Facts(
        engine=intent.engine,
        slots=intent.parallel,
        hardware=this_machine() if runs_here else ", ".join(intent.gpus),
        provider=provider,
        region=intent.region,
        usd_per_hour=price,
    )


async def _price(keeper: "Keeper", name: str) -> float | None:
    try:
        (status,) = await keeper.status(name)
    except ToolkitError:
        return None
    return float(status.spend.usd_per_hour) if status.spend is not None else None
