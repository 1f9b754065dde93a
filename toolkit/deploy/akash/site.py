"""What every step of renting works with."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.base import Intent, Opening
from toolkit.deploy.console.client import ConsoleClient
from toolkit.errors import BudgetError

Report = Callable[[str, str, float | None], None]


@dataclass(frozen=True, slots=True)
class Site:
    """One account, our books, how patient we are, and the deployment that is worked on."""

    console: ConsoleClient
    orders: Orders
    pace: Pace
    opening: Opening

    @property
    def report(self) -> Report:
        return self.opening.report


@dataclass(frozen=True, slots=True)
class Caps:
    """The money that was agreed to. `hours` are whole: the Console counts no others."""

    usd_per_hour: Decimal
    hours: int

    @property
    def worst_case_usd(self) -> Decimal:
        return self.usd_per_hour * self.hours

    @classmethod
    def of(cls, intent: Intent) -> "Caps":
        """The caps of an intent; `BudgetError` without both."""
        if intent.max_usd_per_hour is None or intent.runtime_hours is None:
            raise BudgetError(
                "renting needs two limits, and at least one is not given",
                hint="Give max_usd_per_hour and runtime_hours:"
                " --max-usd-per-hour 0.60 --runtime-hours 4",
            )
        return cls(intent.max_usd_per_hour, whole_hours(intent.runtime_hours))


def whole_hours(hours: float) -> int:
    """Hours as the Console takes them: whole, and at least one."""
    return max(1, -int(-hours // 1))
