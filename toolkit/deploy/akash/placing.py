"""Placing an order: the row first, then the request, once."""

import asyncio
from decimal import Decimal
from itertools import count

from toolkit.deploy.akash.finding import settled
from toolkit.deploy.akash.orders import Order
from toolkit.deploy.akash.sealed import sealed_for
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.base import Intent
from toolkit.deploy.console.amounts import UACT_PER_USD, uact_in
from toolkit.deploy.console.calls import checked_dseq
from toolkit.deploy.console.deployments import Created
from toolkit.deploy.console.updates import NewDeployment
from toolkit.errors import BudgetError, FundsMissing, ReplyLost, RequestRefused, ToolkitError

USUAL_PLACE_S = 10.0
LEAST_DEPOSIT_USD = Decimal("0.5")
_FOR_NOW = frozenset({409, 429})  # a wallet or a key that is being made; too many requests
_WAITS = 6


async def place(
    site: Site, intent: Intent, sdl: str, caps: Caps, left_usd: Decimal, *, is_successor: bool
) -> Order:
    """Order a deployment. Its row is on disk before it is asked for.

    Raises what the Console refuses, and `ReplyLost` where it is not known whether it exists;
    then the row says so and the next attempt looks before it asks.
    """
    site.report("order", "a deployment is ordered", USUAL_PLACE_S)
    order = site.orders.add(
        site.opening.record.uid,
        label=intent.name,
        sdl=sdl,
        is_successor=is_successor,
    )
    try:
        created = await _created(site, order, intent, caps, left_usd)
    except ReplyLost:
        site.report("order", "its answer was lost: the account is looked at")
        return await settled(site.console, order, site.orders, site.pace)
    except ToolkitError:
        site.orders.never(order)
        raise
    if created.sign_tx.code:
        return await settled(site.console, order, site.orders, site.pace)
    return site.orders.placed(order, checked_dseq(created.dseq), created.manifest)


async def _created(
    site: Site, order: Order, intent: Intent, caps: Caps, left_usd: Decimal
) -> Created:
    """Ask, and ask again while the Console says that it has done nothing and may a little later."""
    is_newer = await site.console.is_newer()
    # At the cap itself; a cheaper bid gets more later.
    hours = caps.hours_for(left_usd, caps.usd_per_hour)
    for number in count():
        try:
            if is_newer:
                return await _created_newer(site, order, intent, hours)
            return await _created_older(site, order, intent, left_usd)
        except (FundsMissing, RequestRefused) as error:
            wait_s = _wait_s(error, number, site)
            if wait_s is None:
                raise
            site.report("order", f"{error.message} (again in {wait_s:.0f} s)")
            await asyncio.sleep(wait_s)
    raise AssertionError("it is asked until it answers or refuses")


async def _created_newer(site: Site, order: Order, intent: Intent, hours: int) -> Created:
    new = NewDeployment(
        sdl=order.sdl,
        name=order.name,
        runtime_limit_hours=hours,
        # Anew each time: the key that seals is changed now and then (409), and a seal ends.
        sealed_secrets=await sealed_for(site.console, intent, order.sdl),
    )
    site.orders.asking(order)
    return await site.console.create(new)


async def _created_older(site: Site, order: Order, intent: Intent, left_usd: Decimal) -> Created:
    """Without a deposit first: only some accounts need one, and it is their limit then."""
    await sealed_for(site.console, intent, order.sdl)  # refuses what cannot be sealed
    site.orders.asking(order)
    try:
        return await site.console.create(NewDeployment(sdl=order.sdl))
    except RequestRefused as error:
        if error.status != 400:
            raise
    deposit = max(left_usd, LEAST_DEPOSIT_USD)
    site.orders.asking(order)
    return await site.console.create(NewDeployment(sdl=order.sdl, deposit_usd=float(deposit)))


def _wait_s(error: FundsMissing | RequestRefused, number: int, site: Site) -> float | None:
    """How long to wait where the Console has done nothing for now; None: it is final, or would
    be too late."""
    is_for_now = (
        error.status in _FOR_NOW
        if isinstance(error, RequestRefused)
        else error.retry_after_s is not None  # money is on its way
    )
    if not is_for_now or number >= _WAITS:
        return None
    wait_s = max(error.retry_after_s or 0.0, site.pace.settle_poll_s * 2**number)
    return wait_s if wait_s < site.opening.deadline_s else None


async def confirm(site: Site, order: Order, caps: Caps, left_usd: Decimal) -> None:
    """See, before a lease, that the order will end by itself. Raises `BudgetError`.

    On an older Console automatic funding is turned off: it then ends with its deposit.
    """
    dseq = str(order.dseq)
    if not await site.console.is_newer():
        await _bounded(site, dseq, left_usd)
        return
    limit = (await site.console.settings(dseq)).runtime_limit_hours
    if limit is None or limit > caps.hours:
        raise BudgetError(
            f"the Console does not keep the limit of {caps.hours} h for deployment {dseq}"
            f" (it has {limit})",
            hint="It was closed. Try again; if it stays so, the Console has changed.",
        )


async def _bounded(site: Site, dseq: str, left_usd: Decimal) -> None:
    """See that nothing but what was agreed on is in the deployment, and nothing more comes."""
    settings = await site.console.turn_funding_off(dseq)
    if settings.auto_top_up_enabled:
        raise BudgetError(
            f"the Console goes on funding deployment {dseq} by itself",
            hint="It was closed. Turn automatic funding off at console.akash.network.",
        )
    escrow = (await site.console.deployment(dseq)).escrow_account.state
    inside = uact_in(escrow.funds) / UACT_PER_USD
    if inside > max(left_usd, LEAST_DEPOSIT_USD):
        raise BudgetError(
            f"the Console has put ${inside:.2f} into deployment {dseq}, and of what was agreed"
            f" on ${left_usd:.2f} are left",
            hint="It was closed. Give a higher limit: on this Console the deposit is the limit.",
        )
