"""A part of what `make soak` does for an hour."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.goals import Measure
from tests.soak.mixture import Mixture
from tests.soak.renting import rented
from tests.soak.run import soak
from tests.soak.server import KEYS, soaked


def test_a_seed_repeats_its_requests() -> None:
    one, same, other = (Mixture(seed, KEYS) for seed in (1, 1, 2))
    asks = [one.next() for _ in range(50)]
    assert asks == [same.next() for _ in range(50)]
    assert asks != [other.next() for _ in range(50)]


async def test_a_minute_of_everything_leaves_no_slot_taken_and_no_answer_wrong(
    embedded_store: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with soaked(tmp_path, embedded_store, free_port()) as server:
        tally = await soak(server, KEYS, seconds=60, seed=7, say=print)
        assert tally.wrong == []
        assert tally.kills and tally.answers["done"] > 20 and tally.answers["left"] > 5
        # A minute is too short to tell growth from warm-up to the per cent.
        assert tally.growth < 0.25
        assert "Traceback" not in server.log.read_text()


@pytest.mark.goal(5)
def test_fifty_deployments_that_go_wrong_cost_what_the_ledger_says(measured: Measure) -> None:
    found = rented(50, seed=3, say=print)
    apart = abs(found.spent_usd - found.paid_usd)
    what = f"{found.deployments} deployments that go wrong: ledger and account apart by"
    measured(5, what, float(apart), "USD", 0)
    assert found.deployments >= 50
    assert found.spent_usd == found.paid_usd > 0
    assert any("killed" in each for each in found.outcomes)
