"""The Akash network as a target, through the Console API.

A record here has orders (`orders`), of which at most one is in use and at most one is to
succeed it. All that is known lies in the ledger before it can cost anything; what is true
the account says.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

from toolkit import paths
from toolkit.deploy import logfile
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.akash.access import KEY_VARIABLE, console_client
from toolkit.deploy.akash.bidding import Bidders, terms_of
from toolkit.deploy.akash.choosing import Judged, judged
from toolkit.deploy.akash.ending import end, end_deployment
from toolkit.deploy.akash.gateway import gateway_of
from toolkit.deploy.akash.leasing import ended
from toolkit.deploy.akash.opening import Renting
from toolkit.deploy.akash.orders import Order, Orders, OrderState, home_id, owner_of
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.planning import planned
from toolkit.deploy.akash.pricing import whole_hours
from toolkit.deploy.akash.sealed import check_secrets
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.akash.spending import spend_of, spent_uact
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

_HALF_CHANGED = "a change of it is under way or was cut short, and what it runs is not known"

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
            if (used := self._in_use(record)) is not None:
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
        order, new = self._in_use(record), plan.intent
        now, then = whole_hours(record.intent.runtime_hours), whole_hours(new.runtime_hours)
        if order is None or new.max_usd_per_hour is None or now is None or then is None:
            return Action.REPLACE
        is_shorter = then < now
        is_dearer = most_usd_per_hour(order.price or Decimal(0)) > new.max_usd_per_hour
        is_told = is_in_place(parse(record.sdl).sdl, parse(plan.sdl).sdl)
        return Action.UPDATE if is_told and not is_dearer and not is_shorter else Action.REPLACE

    async def update(self, opening: Opening, plan: Plan) -> None:
        """Change what runs in place."""
        order = self._in_use(opening.record)
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
        """What is open of this home and not in use: by the books, and by the account."""
        left = {finding.key: finding for finding in self._left_over()}
        if not os.environ.get(KEY_VARIABLE) and self._console is console_client and not left:
            return []  # nothing was ever rented from here, and nobody means to
        async with self._console(needs_key=True) as console:
            if await console.is_newer():  # on an older one nothing has a name
                for each in await console.deployments():
                    stray = self._stray(each)
                    if stray is not None:
                        left.setdefault(stray.key, stray)
        return list(left.values())

    def _left_over(self) -> Iterator[Finding]:
        """Orders that the books have open, of records that do not use them, or of which it is not
        known what they run."""
        for order in self._orders.all():
            record = self._orders.ledger.get(order.uid) if order.is_open else None
            if record is None:
                continue
            if self._is_in_use(record, order):
                if order.changing is not None:
                    yield self._half_changed(record, order)
                continue
            yield Finding(
                uid=order.uid,
                what=f"deployment {order.dseq or order.name} is open in the books, and not in use",
                key=order.name,
                name=record.name if record.is_open else "",
                is_stray=True,
            )

    def _half_changed(self, record: Record, order: Order) -> Finding:
        return Finding(
            uid=order.uid,
            what=_HALF_CHANGED,
            key=order.name,
            name=record.name,
            remedy="see that it runs what the books say",
        )

    def _is_in_use(self, record: Record, order: Order) -> bool:
        """Whether somebody uses it, or works on it."""
        if record.state is not State.READY:
            return record.is_open
        used = self._in_use(record)
        return used is not None and used.name == order.name

    async def discard(self, finding: Finding) -> None:
        order = self._orders.find(finding.key)
        async with self._console(needs_key=True, patience_s=PATIENCE_S) as console:
            if finding.remedy:
                record = self._orders.ledger.get(finding.uid)
                if order is not None and order.is_open and record is not None:
                    await put_back(console, self._orders, order, record)
                return
            if order is not None and order.is_open:
                await end(console, order, self._orders, self._pace)
            else:
                for found in await console.deployments(search=finding.key):
                    if found.name == finding.key:
                        await self._end_unknown(console, finding, found)
        record = self._orders.ledger.get(finding.uid)
        is_over = record is not None and record.state is State.CLOSING
        if is_over and not self._orders.open_of(finding.uid):
            self._orders.ledger.move(finding.uid, State.CLOSED)

    async def _end_unknown(
        self, console: ConsoleClient, finding: Finding, found: Deployment
    ) -> None:
        """End what is in no open row; then it gets one, so that its cost is in the books."""
        spent = await end_deployment(console, found.dseq, self._pace)
        sdl = found.console_settings.sdl if found.console_settings else ""
        if self._orders.ledger.get(finding.uid) is None:
            label = f"found-{finding.uid[:12]}"
            self._orders.ledger.adopt(finding.uid, Intent(name=label, target=self.name), sdl=sdl)
        uact = Decimal(0) if spent is None else spent
        self._orders.found_closed(finding.key, finding.uid, found.dseq, sdl, uact)

    # -- how it is done -------------------------------------------------------------

    def _in_use(self, record: Record) -> Order | None:
        """The open order that its address belongs to; before there is one, the first."""
        open_ones = self._orders.open_of(record.uid)
        noted = [o for o in open_ones if o.name == record.handle.get("order")]
        return next(iter(noted or [o for o in open_ones if not o.is_successor]), None)

    async def _tidy(self, site: Site, record: Record) -> None:
        """End the orders that are not in use, as somebody who died half way left them."""
        used = self._in_use(record)
        await self._end_but(site, record, used.name if used is not None else "")
        if used is not None and used.is_successor:
            self._orders.promote(used)

    async def _end_but(self, site: Site, record: Record, name: str) -> None:
        """End all orders of the record but the one of that name."""
        for order in self._orders.open_of(record.uid):
            if order.name != name:
                site.report("close", f"{order.dseq or order.name} is closed")
                await end(site.console, order, self._orders, self._pace)

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
        if order.changing is not None:
            return self._status(record, Health.NOT_READY, f"{_HALF_CHANGED}: akash-llm doctor")
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
        if (
            order is not None
            and record is not None
            and order.is_open
            and self._is_in_use(record, order)
        ):
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
