"""Waiting for bids, and ranking them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from toolkit.deploy.akash.choosing import Judged, Replica, Terms, judged
from toolkit.deploy.akash.failures import GivenUp, no_bids
from toolkit.deploy.akash.orders import Order, Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.console.bids import Bid
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.market import Provider
from toolkit.deploy.console.refusals import may_pass
from toolkit.errors import EndpointError
from toolkit.sdl.groups import group_specs
from toolkit.sdl.parse import parse

LEFT_OUT_FOR = timedelta(hours=24)
USUAL_BIDS_S = 30.0
_LOOK_AT_ONCE = 100


def replicas_of(sdl: str) -> tuple[Replica, ...]:
    """What each replica in an SDL needs."""
    return tuple(
        _replica(unit["resource"])
        for group in group_specs(parse(sdl).sdl)
        for unit in group["resources"]
        for _ in range(unit["count"])
    )


def _replica(resource: dict[str, Any]) -> Replica:
    gpu = resource.get("gpu") or {"units": {"val": "0"}}
    return Replica(
        cpu=int(resource["cpu"]["units"]["val"]),
        memory=int(resource["memory"]["size"]["val"]),
        gpus=int(gpu["units"]["val"]),
        gpu_keys=tuple(attribute["key"] for attribute in gpu.get("attributes", ())),
    )


def terms_of(
    order: Order,
    caps: Caps,
    orders: Orders,
    *,
    left_usd: Decimal,
    hours: int,
    region: str,
    now: datetime,
) -> Terms:
    """What a bid for this order must keep. `now` is the Console's time."""
    return Terms(
        replicas=replicas_of(order.sdl),
        max_usd_per_hour=caps.usd_per_hour,
        hours=hours,
        most_usd=left_usd,
        region=region,
        left_out=orders.failed_providers(now - LEFT_OUT_FOR),
        known_good=orders.good_providers(),
    )


class Bidders:
    """The providers that have bid so far; each is asked about once."""

    def __init__(self, console: ConsoleClient) -> None:
        self._console = console
        self._known: dict[str, Provider] = {}

    async def of(self, bids: Sequence[Bid]) -> dict[str, Provider]:
        """The providers of these bids, as far as the Console knows them."""
        new = sorted({bid.id.provider for bid in bids} - set(self._known))[:_LOOK_AT_ONCE]
        if new:
            found = await self._console.market.providers(new)
            self._known |= {provider.owner: provider for provider in found}
        return self._known


async def good_bids(site: Site, order: Order, terms: Terms) -> list[Judged]:
    """Bids that will do, best first, once there are enough or no more are waited for.

    Raises `GivenUp` when the time for the first good one is over, or the Console fails so long.
    """
    dseq, pace = str(order.dseq), site.pace
    clock = asyncio.get_running_loop().time
    began, first_good_at, told = clock(), 0.0, -1
    bidders = Bidders(site.console)
    site.report("bids", "providers are asked for their prices", USUAL_BIDS_S)
    while True:
        try:
            bids = await site.console.bids(dseq)
            good, bad = judged(bids, await bidders.of(bids), terms)
        except EndpointError as error:
            if not may_pass(error):
                raise
            if clock() - began >= pace.first_bid_s:
                raise GivenUp(error) from None
            await asyncio.sleep(pace.bid_poll_s)
            continue
        if len(bids) != told:
            told = len(bids)
            site.report("bids", _summary(good, bad))
        first_good_at = (first_good_at or clock()) if good else 0.0
        if good and _is_enough(good, clock() - first_good_at, pace):
            return good
        if not good and clock() - began >= pace.first_bid_s:
            raise no_bids(bad, clock() - began)
        await asyncio.sleep(pace.bid_poll_s)


def _is_enough(good: Sequence[Judged], waited_s: float, pace: Pace) -> bool:
    return len(good) >= pace.enough_bids or waited_s >= pace.more_bids_s


def _summary(good: Sequence[Judged], bad: Sequence[Judged]) -> str:
    if not good and not bad:
        return "none yet"
    best = f", the best at ${good[0].usd_per_hour:.4f} an hour" if good else ""
    unfit = f"; {len(bad)} will not do" if bad else ""
    return f"{len(good)} will do{best}{unfit}"
