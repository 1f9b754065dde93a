"""What orders cost: as the account says, and reckoned by the clock until it has said so."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from toolkit.deploy.akash.orders import Order, OrderState
from toolkit.deploy.base import Spend
from toolkit.deploy.console.amounts import (
    BLOCKS_PER_HOUR,
    UACT_PER_USD,
    uact_in,
    usd_per_hour,
)
from toolkit.deploy.console.deployments import Deployment


def spent_uact(found: Deployment) -> Decimal:
    """What a deployment has paid to its provider, as far as the account has settled it: all of
    it once it is closed."""
    return uact_in(found.escrow_account.state.transferred)


def funded_uact(found: Deployment) -> Decimal:
    """What was put into a deployment that is open, paid out by now or not."""
    return uact_in(found.escrow_account.state.funds) + spent_uact(found)


def estimate_uact(order: Order, now: datetime | None = None) -> Decimal:
    """What it has cost by its price and the clock, and not less than what is known.

    The account settles a running lease now and then only, so that its own figure is too small.
    `now` is the Console's time, as that of the lease is; without it, this machine's.
    """
    known = order.spent or Decimal(0)
    if order.price is None or order.leased_at is None or not order.is_open:
        return known
    hours = Decimal(str(max(((now or datetime.now(UTC)) - order.leased_at).total_seconds(), 0)))
    return max(known, order.price * BLOCKS_PER_HOUR * hours / 3600)


def spend_of(orders: Iterable[Order], now: datetime | None = None) -> Spend | None:
    """The money of one deployment over all its orders; None where none was leased."""
    rows = [order for order in orders if order.price is not None or order.spent]
    if not rows:
        return None
    billing = [order for order in rows if order.state is OrderState.LEASED]
    per_hour = sum((usd_per_hour(o.price) for o in billing if o.price is not None), Decimal(0))
    return Spend(
        usd_per_hour=per_hour,
        spent_usd=sum((estimate_uact(o, now) for o in rows), Decimal(0)) / UACT_PER_USD,
        unused_usd=_unused_usd(rows, now),
        ends_at=min((o.ends_at for o in billing if o.ends_at is not None), default=None),
    )


def _unused_usd(orders: Sequence[Order], now: datetime | None) -> Decimal | None:
    """What was put into those that are open, or once all are closed into all of them, and is not
    paid out; None where that of one is not known."""
    total = Decimal(0)
    for order in [order for order in orders if order.is_open] or orders:
        if order.funded is None:
            return None
        total += max(Decimal(0), order.funded - estimate_uact(order, now))
    return total / UACT_PER_USD
