"""A process that rents is killed at the points that matter; then comes the doctor.

Every request that it sends and every write to its ledger is such a point. Here each third one;
with KILLS=all, as `make soak` sets it, each.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console.chaos import Chaos, Kill

MOST = 60
STEP = 1 if os.environ.get("KILLS") == "all" else 3


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path) as chaos:
        yield chaos


def opening(chaos: Chaos, kill: Kill | None) -> None:
    chaos.deploy("one", kill=kill)


def updating(chaos: Chaos, kill: Kill | None) -> None:
    chaos.deploy("one")
    chaos.deploy("one", image=2, kill=kill)


def replacing(chaos: Chaos, kill: Kill | None) -> None:
    chaos.deploy("one")
    chaos.deploy("one", cpu=4, kill=kill)


def closing(chaos: Chaos, kill: Kill | None) -> None:
    chaos.deploy("one")
    chaos.close("one", kill=kill)


def healing(chaos: Chaos, kill: Kill | None) -> None:
    chaos.deploy("one", kill=Kill(6, is_done=True))
    chaos.doctor(kill=kill)


def failing_over(chaos: Chaos, kill: Kill | None) -> None:
    chaos.world.deaf.add("akash1a")
    chaos.deploy("one", kill=kill)


@pytest.mark.parametrize("is_done", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("is_write", [False, True], ids=["requests", "writes"])
@pytest.mark.parametrize("story", [opening, updating, replacing, closing, healing, failing_over])
def test_wherever_it_is_killed_nothing_is_left(
    chaos: Chaos, story: Callable[[Chaos, Kill | None], None], is_write: bool, is_done: bool
) -> None:
    first = 1 + is_done % STEP  # no story has fewer points than two
    for at in range(first, MOST, STEP):
        before = chaos.outcomes.copy()
        story(chaos, Kill(at, is_write, is_done))
        deaths = sum(n for each, n in (chaos.outcomes - before).items() if ": killed" in each)
        has_died = deaths > (story is healing)  # where it begins with one that has died
        chaos.settle()
        if not has_died:
            break
    assert not has_died, f"more than {MOST} points"
    assert at > first
