"""Finding a deployment again whose answer was lost, and ours among all that an account has."""

import asyncio
from datetime import UTC, datetime

from toolkit.deploy.akash.orders import Order, Orders, OrderState
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.preview import previewed
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import CLOSED, Deployment
from toolkit.deploy.console.refusals import may_pass
from toolkit.errors import EndpointError, ReplyLost


async def listed(console: ConsoleClient, order: Order, orders: Orders) -> Deployment | None:
    """The deployment of this order that the account has, open or closed.

    An older Console has no names: there it is one that is open, that no other order of ours
    is, and whose manifest is the same to the bit. The digest of the key in it is ours alone.
    """
    if await console.is_newer():
        for found in await console.deployments(search=order.name):
            if found.name == order.name:
                return found
        for found in await console.deployments(state=CLOSED, search=order.name):
            if found.name == order.name:
                return found
        return None
    known = orders.known_dseqs()
    for found in await console.deployments():
        if found.deployment.hash == order.hash and found.dseq not in known:
            return found
    return None


async def settled(console: ConsoleClient, order: Order, orders: Orders, pace: Pace) -> Order:
    """What became of an order that was sent: placed by its number, or never made.

    Looks until `settle_s` are over. One that does not turn up was never made only when a
    deployment without a lease would be closed by now; before that, `ReplyLost`.
    """
    if order.state is not OrderState.SENT:
        return order
    until = asyncio.get_running_loop().time() + pace.settle_s
    blind: EndpointError | None
    while True:
        try:
            found, blind = await listed(console, order, orders), None
        except EndpointError as error:
            if not may_pass(error):
                raise
            found, blind = None, error
        if found is not None:
            return orders.placed(order, found.dseq, _manifest(order, found))
        if asyncio.get_running_loop().time() >= until:
            break
        await asyncio.sleep(pace.settle_poll_s)
    if blind is not None:  # who does not see it does not know that it was never made
        raise blind
    if _age_s(order) > pace.never_after_s:
        return orders.never(order)
    left_s = max(pace.never_after_s - _age_s(order), 1)
    raise ReplyLost(
        f"A deployment was ordered as {order.name}, and its answer was lost; the account does"
        " not list it.",
        hint=f"It is not ordered again before that is sure, in {left_s / 60:.0f} min at most."
        " Then settle it: akash-llm doctor",
    )


def _manifest(order: Order, found: Deployment) -> str | None:
    """The manifest that was in the answer which was lost, made again from the SDL.

    An older Console leases only with that text, to the letter. Ours is the same where its hash is
    the one that the account shows; where it is not (secrets have been put into it, or a Console
    writes manifests in another way) there is no other way to come by it: a newer Console has kept
    it and needs none, and at an older one no bid can be taken, so that the order is closed and
    another one made.
    """
    made = previewed(order.sdl)
    return made.manifest if made.hash == found.deployment.hash else None


def _age_s(order: Order) -> float:
    """By the wall clock; one that was ahead when the row was written says nothing."""
    return abs((datetime.now(UTC) - order.sent_at).total_seconds())
