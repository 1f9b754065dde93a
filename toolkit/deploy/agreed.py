"""A plan that somebody agreed to, held against what applying it would do now. Pure.

A plan may lie in a file for a week: its name may exist now, its Console may be another one,
the account may be empty. What was agreed to is what the plan said, and nothing beyond it.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from toolkit.deploy.base import Action, Plan
from toolkit.deploy.table import ACTIONS, usd
from toolkit.errors import BudgetError, ToolkitError, UsageError


class Difference(msgspec.Struct, frozen=True):
    """In which way it is more than was agreed to; `is_money` where it may cost more."""

    what: str
    is_money: bool = False


def differences(agreed: Plan, now: Plan) -> tuple[Difference, ...]:
    """What nobody has agreed to yet. That it is there already and stays is never among it."""
    return () if now.action is Action.ADOPT else tuple(_differences(agreed, now))


def _differences(agreed: Plan, now: Plan) -> Iterator[Difference]:
    if now.action is not agreed.action:
        was, then = ACTIONS[agreed.action], ACTIONS[now.action]
        changes = "; ".join(f"{c.field} {c.now} → {c.then}" for c in now.changes)
        yield Difference(f"it would {then} ({changes})" if changes else f"it would {then}")
        yield Difference(f"the plan was to {was}")
    if _amount(now.worst_case_usd) > _amount(agreed.worst_case_usd):
        yield Difference(
            f"it could cost {_shown(now.worst_case_usd)}, and the plan said"
            f" {_shown(agreed.worst_case_usd)}",
            is_money=True,
        )
    for missing in now.missing:
        if missing not in agreed.missing:
            yield Difference(missing, is_money=True)


def _amount(usd: Decimal | None) -> Decimal:
    return Decimal("Infinity") if usd is None else usd


def _shown(amount: Decimal | None) -> str:
    return "without a limit" if amount is None else f"{usd(amount)} at most"


def refusal(found: tuple[Difference, ...]) -> ToolkitError:
    """The error for a plan that is not applied for these reasons."""
    kind = BudgetError if any(each.is_money for each in found) else UsageError
    made: ToolkitError = kind(
        f"it is not as it was planned: {'; '.join(each.what for each in found)}",
        hint="Plan again, look at it, and deploy that.",
    )
    return made
