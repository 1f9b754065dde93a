"""Taking a bid: from here on it bills.

A lease that may exist is never taken twice. The same request again only sends the manifest
again; a request with another provider would silently keep the first lease. So after an
answer that is no answer the account is looked at.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from toolkit.deploy.akash.choosing import Judged
from toolkit.deploy.akash.failures import GivenUp, lease_end
from toolkit.deploy.akash.orders import Order
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.console.amounts import most_usd_per_hour
from toolkit.deploy.console.bids import Bid, Choice
from toolkit.deploy.console.deployments import Deployment, Lease, Settings
from toolkit.deploy.console.refusals import MANIFEST_NOT_DELIVERED, PROVIDER_UNREACHABLE
from toolkit.errors import BudgetError, EndpointError, ReplyLost, RequestRefused

USUAL_LEASE_S = 20.0
_BID_GONE = frozenset({400, 404, 422})


async def lease(site: Site, order: Order, bids: Sequence[Judged]) -> Order:
    """Take the first of these bids that can be taken. Raises `GivenUp` when none can."""
    passed: list[str] = []
    for each in bids:
        bid = each.bid
        site.report(
            "lease", f"{bid.id.provider} at ${each.usd_per_hour:.4f} an hour", USUAL_LEASE_S
        )
        price, now = bid.price.amount, site.console.now
        order = site.orders.leasing(order, bid.id.provider, price, now)
        try:
            found = await _taken(site, order, bid)
        except RequestRefused as error:
            if error.code != PROVIDER_UNREACHABLE and error.status not in _BID_GONE:
                raise
            there = await _lease_of(site, order)
            if there is not None and there.id.provider == bid.id.provider:
                return order
            if there is not None:
                raise _elsewhere(there.id.provider, bid) from None
            order = site.orders.not_leased(order)
            passed.append(f"{bid.id.provider}: {error.message}")
            site.report("lease", f"{bid.id.provider} cannot be had ({error.message})")
            continue
        _check_provider(found, bid)
        return order
    raise GivenUp(
        EndpointError(
            f"none of the bids could be taken ({'; '.join(passed)})", hint="Try again later."
        )
    )


async def _taken(site: Site, order: Order, bid: Bid) -> Deployment:
    """Ask for the lease until its manifest is delivered."""
    for number in range(site.pace.lease_tries):
        if number:
            await asyncio.sleep(site.pace.settle_poll_s)
        try:
            return await site.console.lease([Choice.of(bid)], order.manifest)
        except ReplyLost as error:
            if await _lease_of(site, order) is None:
                # It may come yet: closing the order ends that, too.
                raise GivenUp(error) from None
        except RequestRefused as error:
            if error.code != MANIFEST_NOT_DELIVERED:
                raise
    raise GivenUp(
        EndpointError(
            f"{bid.id.provider} has the lease, but does not take the manifest",
            hint="Another provider may: try again.",
        )
    )


async def deliver_again(site: Site, order: Order, found: Deployment) -> None:
    """Send the manifest of leases that exist once more: with the same providers that is all
    that the same request does. Whether it worked, their status tells."""
    choices = [
        Choice(one.id.dseq, one.id.gseq, one.id.oseq, one.id.provider)
        for one in found.active_leases
    ]
    with suppress(ReplyLost, RequestRefused):
        await site.console.lease(choices, order.manifest)


async def _lease_of(site: Site, order: Order) -> Lease | None:
    """The active lease of the order at its provider."""
    leases = await site.console.leases(str(order.dseq))
    return next((one for one in leases if one.is_active), None)


def _check_provider(found: Deployment, bid: Bid) -> None:
    others = [one.id.provider for one in found.active_leases if one.id.provider != bid.id.provider]
    if others:
        raise _elsewhere(others[0], bid)


def _elsewhere(provider: str, bid: Bid) -> GivenUp:
    return GivenUp(
        EndpointError(
            f"the lease is with {provider} and not with {bid.id.provider}",
            hint="It is closed; try again.",
        )
    )


async def limited(site: Site, order: Order, caps: Caps, left_usd: Decimal) -> Order:
    """See that the Console will end the lease by itself, and when.

    Raises `BudgetError` where it does not say so: without that limit nothing is rented. On an
    older Console it is the deposit that ends it.
    """
    if not await site.console.is_newer():
        return order
    dseq = str(order.dseq)
    settings = await site.console.settings(dseq)
    hours = caps.hours
    if order.price:
        hours = caps.hours_for(left_usd, most_usd_per_hour(order.price))
    if (settings.runtime_limit_hours or hours) < hours:
        settings = await site.console.set_runtime_limit(dseq, hours)
    return kept(site, order, settings, hours)


def kept(site: Site, order: Order, settings: Settings, hours: int) -> Order:
    """The order with its end, as the Console confirms it. `BudgetError` where it does not."""
    limit, ends_at = settings.runtime_limit_hours, _moment(settings.runtime_ends_at)
    if limit is None or limit > hours or ends_at is None:
        raise BudgetError(
            f"the Console does not confirm that it ends deployment {order.dseq} after {hours} h"
            f" (limit {limit}, end {settings.runtime_ends_at})",
            hint="Close it: akash-llm close. If it stays so, the Console has changed.",
        )
    return site.orders.limited(order, ends_at)


def _moment(text: str | None) -> datetime | None:
    """A time of the Console's, in UTC where it says no zone; None for what is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ended(found: Deployment, order: Order) -> str:
    """Why the order has no lease any more, in words; empty while it has one."""
    if found.active_leases and not found.is_closed:
        return ""
    mine = [one for one in found.leases if one.id.provider == order.provider]
    reason = mine[-1].reason if mine else ""
    if not reason and found.is_closed:
        return "the deployment was closed"
    return lease_end(reason)
