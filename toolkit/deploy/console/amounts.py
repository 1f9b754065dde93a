"""Money as the Console API says it: coins on the chain, dollars in the account.

Deployments are paid in `uact`, a millionth of one ACT, which is one US dollar. Prices are
per block. The API reckons with a block of 6 s; blocks have been seen to come faster, so
what is reported uses 6 s and what guards a cap uses 5.8 s.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from toolkit.errors import BudgetError

UACT = "uact"
UACT_PER_USD = 1_000_000
BLOCKS_PER_HOUR = 600
GUARD_BLOCK_S = Decimal("5.8")

# The chain's decimals have 18 digits behind the point and amounts of at most 256 bits.
_MOST_DIGITS = 80
# Below this, a whole number may as well be dollars as millionths of one.
_TELLING_UACT = 10_000
# How far the account's own sum may be from that over its deployments: they are read one
# after the other while money moves, and the two units are a million apart.
_AGREEMENT = 2


class Coin(msgspec.Struct, frozen=True):
    """An amount of one denomination; finite, and of a size that a chain can hold."""

    denom: str
    amount: Decimal

    def __post_init__(self) -> None:
        if not self.amount.is_finite() or abs(self.amount.adjusted()) > _MOST_DIGITS:
            raise ValueError("this is no amount of money")


def uact_in(coins: Iterable[Coin]) -> Decimal:
    """The sum of the coins that are `uact`; others do not pay for deployments."""
    return sum((coin.amount for coin in coins if coin.denom == UACT), Decimal(0))


def usd_per_hour(uact_per_block: Decimal) -> Decimal:
    """What a price per block comes to in an hour, for reports."""
    return uact_per_block * BLOCKS_PER_HOUR / UACT_PER_USD


def most_usd_per_hour(uact_per_block: Decimal) -> Decimal:
    """What it can come to when blocks are fast, for comparing with a cap."""
    return uact_per_block * 3600 / (GUARD_BLOCK_S * UACT_PER_USD)


def price_ceiling(max_usd_per_hour: Decimal) -> int:
    """The highest whole price per block, in uact, that stays under the cap when blocks are fast."""
    return int(max_usd_per_hour * UACT_PER_USD * GUARD_BLOCK_S // 3600)


class Balances(msgspec.Struct, frozen=True):
    """What the account holds, is in deployments, and both. The unit is not stated: it has
    been millionths of a dollar as well as dollars; see `balance_usd`."""

    balance: Decimal
    deployments: Decimal
    total: Decimal

    def __post_init__(self) -> None:
        for amount in (self.balance, self.deployments, self.total):
            Coin("", amount)


def balance_usd(balances: Balances, escrow_uact: Decimal) -> Decimal:
    """The free balance in dollars, with its unit settled by this reply alone.

    `escrow_uact` is the sum over the account's deployments, whose unit is certain. Raises
    `BudgetError` where the unit cannot be told: a guess would be wrong by a million.
    """
    if _is_micro(balances, escrow_uact):
        return balances.balance / UACT_PER_USD
    return balances.balance


def _is_micro(balances: Balances, escrow_uact: Decimal) -> bool:
    amounts = (balances.balance, balances.deployments, balances.total)
    is_whole = all(amount == amount.to_integral_value() for amount in amounts)
    if escrow_uact >= _TELLING_UACT:
        if is_whole and _agree(balances.deployments, escrow_uact):
            return True
        if _agree(balances.deployments, escrow_uact / UACT_PER_USD):
            return False
        raise _undecided()
    if not is_whole:
        return False
    if any(0 < amount < _TELLING_UACT for amount in amounts):
        raise _undecided()
    return True


def _agree(left: Decimal, right: Decimal) -> bool:
    return left <= right * _AGREEMENT and right <= left * _AGREEMENT


def _undecided() -> BudgetError:
    return BudgetError(
        "The Console does not say whether its balances are dollars or millionths of one.",
        hint="Look at the balance on console.akash.network; nothing is spent on a guess.",
    )
