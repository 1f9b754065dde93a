"""Carrying an intent to an endpoint that answers: order, bids, lease, services, model.

Wherever a process died before, this goes on from what the books and the account say. When
an order fails after it was placed it is closed, and the next one goes to another
provider: so often, so dear and so long as was agreed, and no more.
"""

from decimal import Decimal

from toolkit.deploy.akash import lastwords
from toolkit.deploy.akash.bidding import good_bids, terms_of
from toolkit.deploy.akash.ending import end
from toolkit.deploy.akash.failures import GivenUp, after
from toolkit.deploy.akash.finding import settled
from toolkit.deploy.akash.leasing import deliver_again, ended, lease, limited
from toolkit.deploy.akash.orders import Order, OrderState
from toolkit.deploy.akash.placing import confirm, place
from toolkit.deploy.akash.serving import serve
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.akash.spending import spend_of
from toolkit.deploy.base import Intent
from toolkit.errors import BudgetError, EndpointError
from toolkit.route import Address


class Renting:
    """One attempt after the other for one deployment. `is_successor`: beside one in use.

    `since` is the number of the first order that what was agreed on pays for.
    """

    def __init__(
        self, site: Site, intent: Intent, sdl: str, *, since: int, is_successor: bool = False
    ) -> None:
        self._site = site
        self._record = site.opening.record
        self._intent = intent
        self._sdl = sdl
        self._caps = Caps.of(intent)
        self._since = since
        self._is_successor = is_successor

    async def run(self) -> tuple[Order, Address]:
        """The order that answers, and where. Raises the reason of the last attempt; all are
        closed then."""
        failures: list[GivenUp] = []
        order = self._open_order()
        while True:
            try:
                return await self._carried(order)
            except GivenUp as failure:
                failures.append(failure)
                await self._close_failed(str(failure))
                if failure.is_final or len(failures) >= self._site.pace.attempts:
                    raise after(failures) from None
                self._site.report("again", f"{failure}; the next provider is tried")
                order = None

    def _open_order(self) -> Order | None:
        found = self._site.orders.open_of(self._record.uid)
        return next((o for o in found if o.is_successor is self._is_successor), None)

    async def _carried(self, order: Order | None) -> tuple[Order, Address]:
        """From wherever it stands to a token."""
        site = self._site
        if order is not None and order.state is OrderState.SENT:
            site.report("order", "an order whose answer was lost is looked for")
            order = await settled(site.console, order, site.orders, site.pace)
        if order is None or not order.is_open:
            order = await self._placed()
        if not order.is_open:
            raise GivenUp(
                EndpointError("the order was never made, whatever became of it", hint="Try again.")
            )
        if order.state is OrderState.PLACED:
            order = await self._leased(order)
        else:
            await self._check_lease(order)
        if order.ends_at is None:
            order = await limited(site, order, self._caps, self._left_usd(but=order))
        return order, await serve(site, order, self._intent)

    async def _placed(self) -> Order:
        left = self._left_usd()
        if left <= 0:
            raise BudgetError(
                f"what was agreed on (${self._caps.worst_case_usd:.2f}) is spent",
                hint="Deploy again with a higher limit, or look why it failed: akash-llm ledger",
            )
        return await place(
            self._site,
            self._intent,
            self._sdl,
            self._caps,
            left,
            is_successor=self._is_successor,
        )

    async def _leased(self, order: Order) -> Order:
        site, left = self._site, self._left_usd()
        await confirm(site, order, self._caps, left)
        hours = self._caps.hours_for(left, self._caps.usd_per_hour)
        terms = terms_of(
            order,
            self._caps,
            site.orders,
            left_usd=left,
            hours=hours,
            region=self._intent.region,
            now=site.console.now,
        )
        return await lease(site, order, await good_bids(site, order, terms))

    async def _check_lease(self, order: Order) -> None:
        """See that a lease that was asked for is there, and has its manifest."""
        found = await self._site.console.deployment(str(order.dseq))
        why = ended(found, order)
        if why:
            raise GivenUp(EndpointError(f"{order.provider}: {why}", hint="Try again."))
        if all(one.status is None for one in found.active_leases):
            await deliver_again(self._site, order, found)

    def _left_usd(self, but: Order | None = None) -> Decimal:
        """What may still be spent of what was agreed on, were it not for the order `but`."""
        orders = [
            o
            for o in self._site.orders.of(self._record.uid)
            if o.number >= self._since and (but is None or o.name != but.name)
        ]
        spend = spend_of(orders, self._site.console.now)
        return self._caps.worst_case_usd - (spend.spent_usd if spend else Decimal(0))

    async def _close_failed(self, why: str) -> None:
        order = self._open_order()
        if order is None:
            return
        site = self._site
        site.report("close", f"{order.dseq or order.name} is closed")
        log = await lastwords.keep(site.console, order, self._intent.name)
        if log is not None:
            site.opening.note(log=str(log))
        await end(site.console, site.orders.failed(order, why), site.orders, site.pace)
