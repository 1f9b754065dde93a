"""What came of a matrix."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from toolkit.automation.figures import Figures
from toolkit.automation.matrix import Choices, Spec
from toolkit.errors import BudgetError

MATRIX = "matrix.json"

Status = Literal["ok", "failed", "skipped"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one combination. `exit_code` is that of the notebook it ended with."""

    number: int
    name: str
    choices: Choices
    status: Status
    exit_code: int = 0
    why: str = ""
    spent_usd: Decimal = Decimal(0)
    usd_per_hour: Decimal | None = None
    figures: Figures | None = None


class MatrixResult(msgspec.Struct, frozen=True, kw_only=True):
    """A matrix as far as it has come; this is `matrix.json`."""

    schema: Literal[1] = 1
    matrix_id: str
    spec: Spec
    started_at: datetime
    outcomes: tuple[Outcome, ...] = ()
    spent_usd: Decimal = Decimal(0)

    @property
    def exit_code(self) -> int:
        """That of the first combination that failed; of those left out, that of the budget."""
        failed = [one.exit_code for one in self.outcomes if one.status == "failed"]
        skipped = any(one.status == "skipped" for one in self.outcomes)
        return failed[0] if failed else BudgetError.exit_code if skipped else 0
