"""A process that rents is killed at the points that matter; then comes the doctor.

Every request that it sends and every write to its ledger is such a point. Here each third one;
with KILLS=all, as `make soak` sets it, each.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console.chaos import Chaos, Kill
from tests.support.console.states import Generation
from toolkit.deploy.doctor import diagnose

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


# What may come after a program that died while it changed something; and what runs then.
AFTERWARDS: dict[str, tuple[Callable[[Chaos], None], tuple[int, ...]]] = {
    "the doctor": (lambda chaos: chaos.doctor(), (1, 2)),
    "the same change again": (lambda chaos: chaos.deploy("one", image=2), (2,)),
    "what it was before": (lambda chaos: chaos.deploy("one", image=1), (1,)),
}


def patched_at(chaos: Chaos) -> int:
    """The number of the request by which an update changes something."""
    chaos.deploy("two")
    before = len(chaos.server.seen)
    chaos.deploy("two", image=2)
    asked = [each.method for each in chaos.server.seen[before:]]
    return 1 + next(number for number, method in enumerate(asked) if method in ("PATCH", "PUT"))


@pytest.mark.parametrize("generation", list(Generation))
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_a_change_that_was_cut_short_is_finished_or_undone(
    tmp_path: Path, generation: Generation, afterwards: str
) -> None:
    """Before and after the request that changes it, and between any two writes to the books."""
    follow, expected = AFTERWARDS[afterwards]
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path, generation) as chaos:
        at = patched_at(chaos)
        requests = (Kill(at), Kill(at, is_done=True))
        writes = [Kill(number, is_write=True) for number in (2, 3, 4)]
        for kill in (*requests, *writes, Kill(4, is_write=True, is_done=True)):
            chaos.deploy("one", image=1)
            before = chaos.outcomes["deploy: killed"]
            chaos.deploy("one", image=2, kill=kill)
            assert chaos.outcomes["deploy: killed"] == before + 1, kill
            follow(chaos)
            (image,) = chaos.what_runs()
            assert int(image.rpartition(":")[2]) in expected, kill
            assert asyncio.run(diagnose(chaos.keeper, look_again_s=0.001)) == []
        chaos.settle()
