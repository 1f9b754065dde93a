"""Money: blocks and hours, and a balance whose unit nobody states."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit.deploy.console.amounts import (
    Balances,
    Coin,
    balance_usd,
    most_usd_per_hour,
    price_ceiling,
    uact_in,
    usd_per_hour,
)
from toolkit.errors import BudgetError


def balances(balance: str, deployments: str) -> Balances:
    free, inside = Decimal(balance), Decimal(deployments)
    return Balances(free, inside, free + inside)


def test_an_hour() -> None:
    assert usd_per_hour(Decimal(1000)) == Decimal("0.6")
    assert Decimal("0.62") < most_usd_per_hour(Decimal(1000)) < Decimal("0.621")


@given(st.decimals(min_value=0, max_value=1000, places=4))
@example(Decimal(9))  # is met exactly
def test_a_ceiling_keeps_the_cap_and_wastes_less_than_one_uact(cap: Decimal) -> None:
    ceiling = price_ceiling(cap)
    assert most_usd_per_hour(Decimal(ceiling)) <= cap
    assert most_usd_per_hour(Decimal(ceiling + 1)) > cap


def test_only_uact_pays() -> None:
    coins = (Coin("uact", Decimal(3)), Coin("uakt", Decimal(100)), Coin("uact", Decimal(4)))
    assert uact_in(coins) == 7


@pytest.mark.parametrize(
    ("reply", "escrow", "usd"),
    [
        (("42170000", "500000"), "500000", "42.17"),  # millionths, and the chain agrees
        (("42.17", "0.5"), "500000", "42.17"),  # dollars, and the chain agrees
        (("42", "1"), "1000000", "42"),  # whole dollars, told by the chain
        (("42.17", "0"), "0", "42.17"),  # millionths are whole
        (("42170000", "0"), "0", "42.17"),
        (("0", "0"), "0", "0"),
    ],
)
def test_a_unit_that_can_be_told(reply: tuple[str, str], escrow: str, usd: str) -> None:
    assert balance_usd(balances(*reply), Decimal(escrow)) == Decimal(usd)


@pytest.mark.parametrize(
    ("reply", "escrow"),
    [
        (("42", "0"), "0"),  # 42 dollars, or next to nothing
        (("9999", "0"), "0"),
        (("42170000", "0"), "5000000"),  # the chain has money that the reply does not
        (("42.17", "0.5"), "90000000"),
        (("42170000.5", "500000"), "500000"),
    ],
)
def test_a_unit_that_cannot(reply: tuple[str, str], escrow: str) -> None:
    with pytest.raises(BudgetError):
        balance_usd(balances(*reply), Decimal(escrow))


@given(
    free=st.integers(min_value=0, max_value=10**12),
    inside=st.integers(min_value=0, max_value=10**12),
)
def test_millionths_are_never_taken_for_dollars(free: int, inside: int) -> None:
    """The truth, or a refusal where the deployments hold too little to tell."""
    truth = Decimal(free) / 1_000_000
    micro = Balances(Decimal(free), Decimal(inside), Decimal(free + inside))
    try:
        assert balance_usd(micro, Decimal(inside)) == truth
    except BudgetError:
        assert inside < 10_000
