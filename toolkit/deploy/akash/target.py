"""The Akash network as a target, through the Console API.

A record here has orders (`orders`), of which at most one is in use and at most one is to
succeed it. All that is known lies in the ledger before it can cost anything; what is true
the account says.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from toolkit import paths
from toolkit.deploy import logfile
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.akash.access import console_client
from toolkit.deploy.akash.bidding import Bidders, terms_of
from toolkit.deploy.akash.choosing import Judged, judged
from toolkit.deploy.akash.ending import end
from toolkit.deploy.akash.gateway import gateway_of
from toolkit.deploy.akash.leasing import ended
from toolkit.deploy.akash.opening import Renting
from toolkit.deploy.akash.orders import Order, Orders, OrderState, home_id, owner_of
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.planning import planned
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.akash.spending import spend_of, spent_uact
from toolkit.deploy.akash.updating import update, with_prices_of
from toolkit.deploy.base import (
    Action,
    Finding,
    Health,
    Intent,
    OfferedBid,
    Opening,
    Plan,
    Record,
    Spend,
    State,
    Status,
)
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.ledger import Ledger
from toolkit.errors import (
    CredentialsError,
    RequestRefused,
    ToolkitError,
    UsageError,
)
from toolkit.sdl.diff import Effect, diff
from toolkit.sdl.parse import parse

LOOK_S = 20.0

MakeConsole = Callable[..., ConsoleClient]


class ConsoleTarget:
    """Endpoints rented by the Console's account. The key is `AKASH_API_KEY`."""

    name = "console"

    def __init__(
        self,
        *,
        orders: Orders | None = None,
        pace: Pace | None = None,
        console: MakeConsole = console_client,
    ) -> None:
        self._orders = orders or Orders(Ledger(paths.ledger()))
        self._pace = pace or Pace.of_environment()
        self._console = console

    # -- Target ---------------------------------------------------------------------

    async def plan(self, intent: Intent) -> Plan:
        async with self._console(needs_key=False) as console:
            return await planned(intent, console)

    async def apply(self, opening: Opening) -> None:
        record = opening.record
        Caps.of(record.intent)
        async with self._console(needs_key=True) as console:
            site = Site(console, self._orders, self._pace, opening)
            await self._tidy(site, record)
            since = int(record.handle.get("since", 0))
            order, address = await Renting(site, record.intent, record.sdl, since=since).run()
            opening.note(url=address.url, pin=address.pin, order=order.name)

    async def status(self, record: Record) -> Status:
        order = self._in_use(record)
        if order is None:
            return Status(Health.GONE, "no deployment of it is open")
        try:
            async with asyncio.timeout(LOOK_S), self._console(needs_key=True) as console:
                return await self._looked_at(console, record, order)
        except TimeoutError:
            return self._status(record, Health.NOT_READY, "the Console does not answer in time")
        except ToolkitError as error:
            return self._status(record, Health.NOT_READY, error.message)

    async def close(self, record: Record) -> None:
        orders = self._orders.open_of(record.uid)
        if not orders:
            return
        async with self._console(needs_key=True) as console:
            for order in reversed(orders):
                await end(console, order, self._orders, self._pace)

    # -- SupportsChanges ------------------------------------------------------------

    def action(self, record: Record, plan: Plan) -> Action:
        """Prices are settled by the lease: that they differ changes nothing about it."""
        now = parse(record.sdl).sdl
        effect = diff(now, with_prices_of(now, parse(plan.sdl).sdl)).effect
        return Action.REPLACE if effect is Effect.NEW_LEASE else Action.UPDATE

    async def update(self, opening: Opening, plan: Plan) -> None:
        """Change what runs in place."""
        order = self._in_use(opening.record)
        if order is None or order.state is not OrderState.LEASED:
            raise UsageError(
                f"{opening.record.name} has no lease to change", hint="Deploy it again."
            )
        async with self._console(needs_key=True) as console:
            site = Site(console, self._orders, self._pace, opening)
            await update(site, order, plan)

    async def replace(self, opening: Opening, plan: Plan) -> None:
        """Another lease first; the one in use is closed when that one answers."""
        record = opening.record
        async with self._console(needs_key=True) as console:
            site = Site(console, self._orders, self._pace, opening)
            await self._tidy(site, opening.record)
            try:
                since = max((o.number for o in self._orders.of(record.uid)), default=0) + 1
                renting = Renting(site, plan.intent, plan.sdl, since=since, is_successor=True)
                order, address = await renting.run()
                opening.revise(
                    plan, url=address.url, pin=address.pin, order=order.name, since=since
                )
            finally:  # whichever of the two is not in use
                await self._tidy(site, opening.record)

    # -- SupportsLogs ---------------------------------------------------------------

    async def logs(
        self, record: Record, *, follow: bool, tail: int, service: str | None
    ) -> AsyncIterator[str]:
        order = self._in_use(record)
        if order is None:
            for kept in _kept(record, tail):
                yield kept
            return
        async with self._console(needs_key=True) as console, gateway_of(console, order) as gateway:
            services = (service,) if service else ()
            lines = gateway.logs(services=services, tail=tail, follow=follow)
            async with aclosing(lines) as told:
                async for line in told:
                    yield line.text if service else f"{line.service} | {line.text}"

    # -- SupportsBids, SupportsSpend ------------------------------------------------

    async def bids(self, record: Record) -> list[OfferedBid]:
        order = self._in_use(record)
        if order is None or order.dseq is None:
            raise UsageError(f"{record.name} is not ordered", hint="akash-llm deploy")
        caps = Caps.of(record.intent)
        async with self._console(needs_key=True) as console:
            found = await console.bids(order.dseq)
            known = await Bidders(console).of(found)
        terms = terms_of(
            order,
            caps,
            self._orders,
            left_usd=caps.worst_case_usd,
            hours=caps.hours,
            region=record.intent.region,
        )
        good, bad = judged(found, known, terms)
        return [_offered(each) for each in (*good, *bad)]

    def spend(self, record: Record) -> Spend | None:
        return spend_of(self._orders.of(record.uid))

    # -- SupportsInventory ----------------------------------------------------------

    async def inventory(self) -> list[Finding]:
        """Open deployments of this home that the books have as closed, or not at all."""
        try:
            async with self._console(needs_key=True) as console:
                if not await console.is_newer():
                    return []  # there, nothing has a name
                found = await console.deployments()
        except CredentialsError:
            if any(order.is_open for order in self._orders.all()):
                raise
            return []
        return [stray for each in found if (stray := self._stray(each)) is not None]

    async def discard(self, finding: Finding) -> None:
        async with self._console(needs_key=True) as console:
            for found in await console.deployments(search=finding.key):
                if found.name == finding.key:
                    order = self._written_down(finding, found)
                    await end(console, order, self._orders, self._pace)
        record = self._orders.ledger.get(finding.uid)
        if record is not None and record.state is State.CLOSING:
            self._orders.ledger.move(finding.uid, State.CLOSED)

    def _written_down(self, finding: Finding, found: Deployment) -> Order:
        """The order of a stray; what is in no row gets one, so that its cost is in the books."""
        order = self._orders.find(finding.key)
        if order is not None and order.is_open:
            return order
        sdl = found.console_settings.sdl if found.console_settings else ""
        if self._orders.ledger.get(finding.uid) is None:
            label = f"found-{finding.uid[:12]}"
            self._orders.ledger.adopt(finding.uid, Intent(name=label, target=self.name), sdl=sdl)
        return self._orders.found(finding.key, finding.uid, found.dseq, sdl)

    # -- how it is done -------------------------------------------------------------

    def _in_use(self, record: Record) -> Order | None:
        """The open order that its address belongs to; before there is one, the first."""
        open_ones = self._orders.open_of(record.uid)
        noted = [o for o in open_ones if o.name == record.handle.get("order")]
        return next(iter(noted or [o for o in open_ones if not o.is_successor]), None)

    async def _tidy(self, site: Site, record: Record) -> None:
        """End the orders that are not in use, as somebody who died half way left them."""
        used = self._in_use(record)
        for order in self._orders.open_of(record.uid):
            if used is None or order.name != used.name:
                site.report("close", f"{order.dseq or order.name} is closed", None)
                await end(site.console, order, self._orders, self._pace)
        if used is not None and used.is_successor:
            self._orders.promote(used)

    async def _looked_at(self, console: ConsoleClient, record: Record, order: Order) -> Status:
        if order.state is OrderState.SENT or order.dseq is None:
            what = "it was ordered and the answer was lost: akash-llm doctor looks for it"
            return self._status(record, Health.NOT_READY, what)
        try:
            found = await console.deployment(order.dseq)
        except RequestRefused as error:
            if error.status != 404:
                raise
            return self._status(record, Health.GONE, "the account does not know it")
        self._orders.spent(order, spent_uact(found))
        why = ended(found, order)
        if order.state is OrderState.PLACED and not found.is_closed:
            return self._status(record, Health.NOT_READY, "it has no lease yet")
        if why:
            return self._status(record, Health.GONE, why)
        return self._status(record, *await self._probed(record, found))

    async def _probed(self, record: Record, found: Deployment) -> tuple[Health, str]:
        """How the endpoint of a lease behaves."""
        if record.url is None:
            return Health.NOT_READY, "it is leased, and has not answered yet"
        try:
            async with endpoint_of(record) as endpoint:
                if await endpoint.is_ready():
                    await endpoint.version()
                    return Health.READY, "answers"
        except ToolkitError as error:
            return Health.NOT_READY, error.message
        statuses = [one.status for one in found.active_leases if one.status is not None]
        if statuses and not any(status.is_available for status in statuses):
            return Health.IDLE, "it bills, and its provider says that its containers do not run"
        return Health.NOT_READY, "it does not answer, or is loading"

    def _status(self, record: Record, health: Health, detail: str) -> Status:
        return Status(health, detail, spend=spend_of(self._orders.of(record.uid)))

    def _stray(self, found: Deployment) -> Finding | None:
        """What a deployment of this home is that nobody has in use."""
        owner = owner_of(found.name or "")
        if owner is None or owner[0] != home_id():
            return None
        order, record = self._orders.find(str(found.name)), self._orders.ledger.get(owner[1])
        if order is not None and order.is_open and record is not None and record.is_open:
            used = self._in_use(record)
            if record.state is not State.READY or (used is not None and used.name == order.name):
                return None
        return Finding(
            uid=owner[1],
            what=f"deployment {found.dseq} is open at the Console",
            key=str(found.name),
            name=record.name if record is not None and record.is_open else "",
            is_stray=True,
        )


def _kept(record: Record, tail: int) -> Sequence[str]:
    """What was kept of the log when the lease failed; providers forget it."""
    log = record.handle.get("log")
    if not log:
        raise UsageError(
            f"{record.name} has no lease any more, and providers keep no logs",
            hint="What became of it: akash-llm ledger",
        )
    return logfile.last_lines(Path(str(log)), tail)


def _offered(each: Judged) -> OfferedBid:
    bid = each.bid
    gpus = [key for offered in bid.resources_offer for key in offered.gpu_keys]
    return OfferedBid(
        provider=bid.id.provider,
        usd_per_hour=each.usd_per_hour,
        state=bid.state,
        gpu=", ".join(gpus),
        remark=each.why_not,
    )
