"""The time of day as deploying sees it, for tests in which somebody sets the clock."""

from datetime import datetime, timedelta, tzinfo

import pytest

_WHERE = (
    "toolkit.deploy.akash.finding",
    "toolkit.deploy.akash.orders",
    "toolkit.deploy.akash.spending",
    "toolkit.deploy.console.wire",
    "toolkit.deploy.ledger",
    "toolkit.deploy.watching",
)


class WallClock:
    """It stands where it does, and `jump` sets it. What waits goes by another clock."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead = timedelta()
        stand_in = _stand_in(self)
        for module in _WHERE:
            patch.setattr(f"{module}.datetime", stand_in)

    def now(self, zone: tzinfo | None) -> datetime:
        return datetime.now(zone) + self._ahead

    def jump(self, by: timedelta) -> None:
        self._ahead += by


def _stand_in(clock: WallClock) -> type:
    """What those modules take `datetime` for: it makes plain times."""

    class Times:
        fromisoformat = datetime.fromisoformat

        @staticmethod
        def now(zone: tzinfo | None = None) -> datetime:
            return clock.now(zone)

    return Times
