"""Ending an order: closed, proved to be closed, and its cost written down.

That it is closed only the account says, by the state of the deployment. An answer that
was lost, or a 404, is no proof.
"""

import asyncio
from contextlib import suppress
from decimal import Decimal

from toolkit.deploy.akash.finding import settled
from toolkit.deploy.akash.orders import Order, Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.spending import estimate_uact, funded_uact, spent_uact
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.console.refusals import may_pass
from toolkit.errors import EndpointError, RequestRefused, ToolkitError

LOOK_S = 5.0
_AGAIN = frozenset({400, 409, 429})  # the escrow cannot be settled yet, or too much at once


async def end(console: ConsoleClient, order: Order, orders: Orders, pace: Pace) -> Order:
    """Close it, whatever became of it so far. Silent on what is closed.

    Raises `ReplyLost` while it is not known whether it was ever made, and `EndpointError`
    when the account does not say that it is closed: it may still bill.
    """
    order = await settled(console, order, orders, pace)
    if order.dseq is None or not order.is_open:
        return order
    await _look_into(console, order.dseq, order, orders)
    spent = await end_deployment(console, order.dseq, pace)
    return orders.closed(order, estimate_uact(order, console.now) if spent is None else spent)


async def _look_into(console: ConsoleClient, dseq: str, order: Order, orders: Orders) -> None:
    """Note what is in its purse, which nobody can tell afterwards. It is ended in any case."""
    with suppress(TimeoutError, ToolkitError):
        async with asyncio.timeout(LOOK_S):
            found = await console.deployment(dseq)
        if not found.is_closed:
            orders.funded(order, funded_uact(found))


async def end_deployment(console: ConsoleClient, dseq: str, pace: Pace) -> Decimal | None:
    """Close a deployment; what it has cost in uact, None where the account knows nothing of it.

    Raises `EndpointError` when the account does not say that it is closed.
    """
    why = ""
    for number in range(pace.close_tries):
        if number:
            await asyncio.sleep(min(pace.settle_poll_s * number, 10 * pace.settle_poll_s))
        try:
            found, why = await _asked_to_close(console, dseq)
            if found is not None and found.is_closed:
                return spent_uact(found)
            if found is None and await _is_unknown(console, dseq):
                return None
        except EndpointError as error:
            if not may_pass(error):
                raise
            why = error.message
    raise EndpointError(
        f"The account does not say that deployment {dseq} is closed; it may still bill"
        f"{f' ({why})' if why else ''}.",
        hint="Close it again: akash-llm doctor. Or close it at console.akash.network.",
    )


async def _asked_to_close(console: ConsoleClient, dseq: str) -> tuple[Deployment | None, str]:
    """Ask to close, then look; what is there now (None: the account knows no such number),
    and what went wrong."""
    why = ""
    try:
        await console.close(dseq)
    except RequestRefused as error:
        if error.status not in _AGAIN | {404} and error.status < 500:
            raise
        why = error.message
    except EndpointError as error:  # lost, or "not closed"
        why = error.message
    try:
        return await console.deployment(dseq), why
    except RequestRefused as error:
        if error.status != 404:
            raise
        return None, error.message


async def _is_unknown(console: ConsoleClient, dseq: str) -> bool:
    """Whether the account has nothing by that number that could bill."""
    if any(each.dseq == dseq for each in await console.deployments()):
        return False
    if not await console.is_newer():
        return True
    return all(each.dseq != dseq for each in (await console.spend_rate()).deployments)
