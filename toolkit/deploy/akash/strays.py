"""Orders that nobody has in use, and orders in use of which it is not known what they run.

By the books, and by the account; and how each of them is settled.
"""

from collections.abc import Iterator
from decimal import Decimal

from toolkit.deploy.akash.ending import end, end_deployment
from toolkit.deploy.akash.orders import Order, Orders, home_id, owner_of
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.updating import put_back
from toolkit.deploy.base import Finding, Intent, Record, State
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Deployment

HALF_CHANGED = "a change of it is under way or was cut short, and what it runs is not known"


def in_use(orders: Orders, record: Record) -> Order | None:
    """The open order that its address belongs to; before there is one, the first."""
    open_ones = orders.open_of(record.uid)
    noted = [order for order in open_ones if order.name == record.handle.get("order")]
    return next(iter(noted or [order for order in open_ones if not order.is_successor]), None)


def _is_in_use(orders: Orders, record: Record, order: Order) -> bool:
    """Whether somebody uses it, or works on it."""
    if record.state is not State.READY:
        return record.is_open
    used = in_use(orders, record)
    return used is not None and used.name == order.name


def in_the_books(orders: Orders) -> Iterator[Finding]:
    """Orders that the books have open, of records that do not use them, or that were left half
    changed."""
    for order in orders.all():
        record = orders.ledger.get(order.uid) if order.is_open else None
        if record is None:
            continue
        if not _is_in_use(orders, record, order):
            what = f"deployment {order.dseq or order.name} is open in the books, and not in use"
            name = record.name if record.is_open else ""
            yield Finding(uid=order.uid, what=what, key=order.name, name=name, is_stray=True)
        elif order.changing is not None and record.state is State.READY:
            yield Finding(
                uid=order.uid,
                what=HALF_CHANGED,
                key=order.name,
                name=record.name,
                remedy="see that it runs what the books say",
            )


async def at_the_account(console: ConsoleClient, orders: Orders) -> list[Finding]:
    """Deployments of this home that are open there and that nobody has in use."""
    if not await console.is_newer():  # on an older one nothing has a name
        return []
    found = [_stray(orders, each) for each in await console.deployments()]
    return [stray for stray in found if stray is not None]


def _stray(orders: Orders, found: Deployment) -> Finding | None:
    owner = owner_of(found.name or "")
    if owner is None or owner[0] != home_id():
        return None
    order, record = orders.find(str(found.name)), orders.ledger.get(owner[1])
    if (
        order is not None
        and record is not None
        and order.is_open
        and _is_in_use(orders, record, order)
    ):
        return None
    return Finding(
        uid=owner[1],
        what=f"deployment {found.dseq} is open at the Console",
        key=str(found.name),
        name=record.name if record is not None and record.is_open else "",
        is_stray=True,
    )


async def settle(console: ConsoleClient, orders: Orders, pace: Pace, finding: Finding) -> None:
    """End what was found; what is in use runs again what the books say."""
    order = orders.find(finding.key)
    if finding.remedy:
        record = orders.ledger.get(finding.uid)
        if order is not None and order.is_open and record is not None:
            await put_back(console, orders, order, record)
        return
    if order is not None and order.is_open:
        await end(console, order, orders, pace)
    else:
        for found in await console.deployments(search=finding.key):
            if found.name == finding.key:
                await _end_unknown(console, orders, pace, finding, found)
    record = orders.ledger.get(finding.uid)
    is_over = record is not None and record.state is State.CLOSING
    if is_over and not orders.open_of(finding.uid):
        orders.ledger.move(finding.uid, State.CLOSED)


async def _end_unknown(
    console: ConsoleClient, orders: Orders, pace: Pace, finding: Finding, found: Deployment
) -> None:
    """End what is in no open row; then it gets one, so that its cost is in the books."""
    spent = await end_deployment(console, found.dseq, pace)
    sdl = found.console_settings.sdl if found.console_settings else ""
    if orders.ledger.get(finding.uid) is None:
        label = f"found-{finding.uid[:12]}"
        orders.ledger.adopt(finding.uid, Intent(name=label, target="console"), sdl=sdl)
    uact = Decimal(0) if spent is None else spent
    orders.found_closed(finding.key, finding.uid, found.dseq, sdl, uact)
