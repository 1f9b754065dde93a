"""What every step of renting works with."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.pricing import check_caps, whole_hours
from toolkit.deploy.base import Intent, Opening
from toolkit.deploy.console.client import ConsoleClient

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
        check_caps(intent)
        usd, hours = intent.max_usd_per_hour, whole_hours(intent.runtime_hours)
        if usd is None or hours is None:
            raise ValueError("checked caps are there")
        return cls(usd, hours)
