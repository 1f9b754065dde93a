"""What every step of renting works with."""

from dataclasses import dataclass
from decimal import Decimal

from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.pricing import check_caps, whole_hours
from toolkit.deploy.base import Intent, Opening
from toolkit.deploy.console.client import ConsoleClient


@dataclass(frozen=True, slots=True)
class Site:
    """One account, our books, how patient we are, and the deployment that is worked on."""

    console: ConsoleClient
    orders: Orders
    pace: Pace
    opening: Opening

    def report(self, phase: str, text: str, usual_s: float | None = None) -> None:
        """Tell the person about a change of phase."""
        self.opening.report(phase, text, usual_s)


@dataclass(frozen=True, slots=True)
class Caps:
    """The money that was agreed to. `hours` are whole: the Console counts no others."""

    usd_per_hour: Decimal
    hours: int

    @property
    def worst_case_usd(self) -> Decimal:
        return self.usd_per_hour * self.hours

    def hours_for(self, usd: Decimal, usd_per_hour: Decimal) -> int:
        """The hours of those agreed on that so much money pays for at a price; at least one."""
        return max(1, min(self.hours, int(usd / usd_per_hour)))

    @classmethod
    def of(cls, intent: Intent) -> "Caps":
        """The caps of an intent; `BudgetError` without both."""
        check_caps(intent)
        usd, hours = intent.max_usd_per_hour, whole_hours(intent.runtime_hours)
        if usd is None or hours is None:
            raise ValueError("checked caps are there")
        return cls(usd, hours)
