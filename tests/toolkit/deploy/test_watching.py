"""What a watcher ends, and what it leaves alone."""

from decimal import Decimal

import filelock
import msgspec
import pytest

from tests.support.deploying import MakeKeeper
from toolkit import paths
from toolkit.deploy.base import Health, Intent, Spend, State, Status
from toolkit.deploy.watching import end_if_over

DEAR = Status(Health.NOT_READY, "", spend=Spend(usd_per_hour=Decimal(1), spent_usd=Decimal(99)))


@pytest.mark.goal(5)
async def test_an_opening_that_nobody_works_on_ends_at_its_limit(
    keeper: MakeKeeper, intent: Intent
) -> None:
    """Whoever opened it was killed, and what it rented goes on to cost."""
    keep = keeper()
    capped = msgspec.structs.replace(intent, max_usd_total=Decimal(2))
    record = keep.ledger.open(capped, sdl="")
    with filelock.FileLock(paths.endpoint(record.name) / ".lock", thread_local=False):
        assert await end_if_over(keep, record, DEAR) == ""  # somebody works on it
    assert record.state is State.OPENING
    assert "it has cost $99" in await end_if_over(keep, record, DEAR)
    assert keep.ledger.find(record.name) is None
