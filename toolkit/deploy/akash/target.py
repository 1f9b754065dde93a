"""The Akash network as a target, through the Console API.

A record here has orders (`orders`), of which at most one is in use and at most one is to
succeed it. All that is known lies in the ledger before it can cost anything; what is true
the account says.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from toolkit import paths
from toolkit.deploy import logfile
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.akash import strays
from toolkit.deploy.akash.access import account_key, console_client
from toolkit.deploy.akash.bidding import Bidders, terms_of
from toolkit.deploy.akash.choosing import Judged, judged
from toolkit.deploy.akash.ending import end
from toolkit.deploy.akash.gateway import gateway_of
from toolkit.deploy.akash.leasing import ended
from toolkit.deploy.akash.opening import Renting
from toolkit.deploy.akash.orders import Order, Orders, OrderState
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.planning import planned
from toolkit.deploy.akash.pricing import whole_hours
from toolkit.deploy.akash.sealed import check_secrets
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.akash.spending import funded_uact, spend_of, spent_uact
from toolkit.deploy.akash.strays import HALF_CHANGED, in_use
from toolkit.deploy.akash.updating import is_in_place, put_back, update
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
from toolkit.deploy.console.amounts import most_usd_per_hour
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.ledger import Ledger
from toolkit.errors import (
    BudgetError,
    RequestRefused,
    ToolkitError,
    UsageError,
)
from toolkit.sdl.parse import parse

LOOK_S = 20.0
# So long a Console that fails is asked again by what costs or ends something.
PATIENCE_S = 60.0

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

    def check(self, plan: Plan) -> None:
        """`BudgetError` without caps or money, `CredentialsError` without what has to go along."""
        Caps.of(plan.intent)
        self._console(needs_key=True)
        check_secrets(plan.intent)
        if plan.missing:
            raise BudgetError(
                " ".join(plan.missing), hint="Then plan again; nothing has been ordered."
            )

    async def apply(self, opening: Opening) -> None:
        record = opening.record
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            site = Site(console, self._orders, self._pace, opening)
            await self._tidy(site, record)
            if (used := in_use(self._orders, record)) is not None:
                await put_back(console, self._orders, used, record)
            since = int(record.handle.get("since", 0))
            try:
                order, address = await Renting(site, record.intent, record.sdl, since=since).run()
            except BaseException:
                if record.state is State.READY:  # else who called closes all of it
                    await self._end_but(site, record, str(record.handle.get("order", "")))
                raise
            opening.note(url=address.url, pin=address.pin or "", order=order.name)

    async def status(self, record: Record) -> Status:
        order = in_use(self._orders, record)
        if order is None:
            return Status(Health.GONE, "no deployment of it is open")
        now = None
        try:
            async with asyncio.timeout(LOOK_S), self._console(needs_key=True) as console:
                seen = await self._looked_at(console, record, order)
                now = console.now
        except TimeoutError:
            seen = Health.NOT_READY, "the Console does not answer in time"
        except ToolkitError as error:
            seen = Health.NOT_READY, error.message
        return Status(*seen, spend=spend_of(self._orders.of(record.uid), now))

    async def close(self, record: Record) -> None:
        orders = self._orders.open_of(record.uid)
        if not orders:
            return
        never_answered = "order" not in record.handle and record.error not in (None, "interrupted")
        problems: list[ToolkitError] = []
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            for order in orders:
                if never_answered and order.provider is not None:
                    order = self._orders.failed(order, str(record.error))
                try:
                    await end(console, order, self._orders, self._pace)
                except ToolkitError as error:  # the others bill, too
                    problems.append(error)
        if problems:
            raise problems[0]

    # -- SupportsChanges ------------------------------------------------------------

    def action(self, record: Record, plan: Plan) -> Action:
        """Prices are settled by the lease, and its end is never put forward: what asks for less
        than it costs or for fewer hours takes another one."""
        order, new = in_use(self._orders, record), plan.intent
        now, then = whole_hours(record.intent.runtime_hours), whole_hours(new.runtime_hours)
        if order is None or new.max_usd_per_hour is None or now is None or then is None:
            return Action.REPLACE
        is_shorter = then < now
        is_dearer = most_usd_per_hour(order.price or Decimal(0)) > new.max_usd_per_hour
        is_told = is_in_place(parse(record.sdl).sdl, parse(plan.sdl).sdl)
        return Action.UPDATE if is_told and not is_dearer and not is_shorter else Action.REPLACE

    async def update(self, opening: Opening, plan: Plan) -> None:
        """Change what runs in place."""
        order = in_use(self._orders, opening.record)
        if order is None or order.state is not OrderState.LEASED:
            raise UsageError(
                f"{opening.record.name} has no lease to change", hint="Deploy it again."
            )
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            site = Site(console, self._orders, self._pace, opening)
            await update(site, order, plan)

    async def replace(self, opening: Opening, plan: Plan) -> None:
        """Another lease first; the one in use is closed when that one answers."""
        record = opening.record
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            site = Site(console, self._orders, self._pace, opening)
            await self._tidy(site, opening.record)
            try:
                since = max((o.number for o in self._orders.of(record.uid)), default=0) + 1
                renting = Renting(site, plan.intent, plan.sdl, since=since, is_successor=True)
                order, address = await renting.run()
                opening.revise(
                    plan, url=address.url, pin=address.pin or "", order=order.name, since=since
                )
            finally:  # whichever of the two is not in use
                await self._tidy(site, opening.record)

    # -- SupportsLogs ---------------------------------------------------------------

    async def logs(
        self, record: Record, *, follow: bool, tail: int, service: str | None
    ) -> AsyncIterator[str]:
        order = in_use(self._orders, record)
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

    def services(self, record: Record) -> Sequence[str]:
        return _services_in(record.sdl)

    # -- SupportsBids, SupportsSpend ------------------------------------------------

    async def bids(self, record: Record) -> list[OfferedBid]:
        order = in_use(self._orders, record)
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
            now=console.now,
        )
        good, bad = judged(found, known, terms)
        return [_offered(each) for each in (*good, *bad)]

    def spend(self, record: Record) -> Spend | None:
        return spend_of(self._orders.of(record.uid))

    # -- SupportsInventory ----------------------------------------------------------

    async def inventory(self) -> list[Finding]:
        """What is open of this home and not in use, by the books and by the account, and what is
        in use and not known to run what the books say."""
        left = {finding.key: finding for finding in strays.in_the_books(self._orders)}
        if account_key() is None and self._console is console_client and not left:
            return []  # nothing was ever rented from here, and nobody means to
        async with self._console(needs_key=True) as console:
            for stray in await strays.at_the_account(console, self._orders):
                left.setdefault(stray.key, stray)
        return list(left.values())

    async def discard(self, finding: Finding) -> None:
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            await strays.settle(console, self._orders, self._pace, finding)

    # -- how it is done -------------------------------------------------------------

    async def _tidy(self, site: Site, record: Record) -> None:
        """End the orders that are not in use, as somebody who died half way left them."""
        used = in_use(self._orders, record)
        await self._end_but(site, record, used.name if used is not None else "")
        if used is not None and used.is_successor:
            self._orders.promote(used)

    async def _end_but(self, site: Site, record: Record, name: str) -> None:
        """End all orders of the record but the one of that name."""
        for order in self._orders.open_of(record.uid):
            if order.name != name:
                site.report("close", f"{order.dseq or order.name} is closed")
                await end(site.console, order, self._orders, self._pace)

    async def _looked_at(
        self, console: ConsoleClient, record: Record, order: Order
    ) -> tuple[Health, str]:
        if order.state is OrderState.SENT or order.dseq is None:
            what = "it was ordered and the answer was lost: akash-llm doctor looks for it"
            return Health.NOT_READY, what
        try:
            found = await console.deployment(order.dseq)
        except RequestRefused as error:
            if error.status != 404:
                raise
            return Health.GONE, "the account does not know it"
        self._orders.spent(order, spent_uact(found))
        if not found.is_closed:
            self._orders.funded(order, funded_uact(found))
        why = ended(found, order)
        if order.state is OrderState.PLACED and not found.is_closed:
            return Health.NOT_READY, "it has no lease yet"
        if why:
            return Health.GONE, why
        if order.changing is not None:
            return Health.NOT_READY, f"{HALF_CHANGED}: akash-llm doctor"
        return await self._probed(record, found)

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


@lru_cache(maxsize=8)
def _services_in(sdl: str) -> tuple[str, ...]:
    return tuple(parse(sdl).sdl.services) if sdl else ()


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
