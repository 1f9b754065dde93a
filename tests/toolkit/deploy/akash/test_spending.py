"""What comes back of the money that was put into orders."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from toolkit.deploy.akash.orders import Order, OrderState
from toolkit.deploy.akash.spending import spend_of

USD = 1_000_000
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def order(number: int, state: OrderState, **given: Any) -> Order:
    fields = {"name": "mine", "uid": "u", "is_successor": False, "sdl": "", "hash": ""}
    made = {"funded": Decimal(5 * USD), "sent_at": NOW, "price": Decimal(1), **fields, **given}
    return Order(number=number, state=state, **made)


FAILED = order(1, OrderState.CLOSED, spent=Decimal(USD // 10))
RUNS = order(2, OrderState.LEASED, spent=Decimal(USD), leased_at=NOW)
ENDED = order(2, OrderState.CLOSED, spent=Decimal(USD))
UNKNOWN = order(2, OrderState.LEASED, funded=None, leased_at=NOW)


@pytest.mark.goal(5)
@pytest.mark.parametrize(
    ("orders", "unused"),
    [
        ([RUNS], "4"),
        ([FAILED, RUNS], "4"),  # that of the first has come back already
        ([FAILED, ENDED], "8.9"),
        ([FAILED, UNKNOWN], None),
    ],
)
def test_what_comes_back(orders: list[Order], unused: str | None) -> None:
    spend = spend_of(orders, NOW)
    assert spend is not None
    assert spend.unused_usd == (None if unused is None else Decimal(unused))
