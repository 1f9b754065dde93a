"""A process that rents is killed at the points that matter; then comes the doctor.

Every request that it sends and every write to its ledger is such a point.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import stamina

from tests.support.console.chaos import Chaos, Kill
from tests.support.console.states import Generation
from tests.support.console.stories import Cut, Story, closing, opening, points, replacing, updating
from toolkit.deploy.doctor import diagnose


def healing(chaos: Chaos, cut: Cut | None) -> None:
    chaos.deploy("one", kill=Kill(6, is_done=True))
    chaos.doctor(kill=cut)


def failing_over(chaos: Chaos, cut: Cut | None) -> None:
    chaos.world.deaf.add("akash1a")
    chaos.deploy("one", kill=cut)


@pytest.mark.parametrize("is_done", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("is_write", [False, True], ids=["requests", "writes"])
@pytest.mark.parametrize("story", [opening, updating, replacing, closing, healing, failing_over])
@pytest.mark.goal(5)
def test_wherever_it_is_killed_nothing_is_left(
    chaos: Chaos, story: Story, is_write: bool, is_done: bool
) -> None:
    deadly = 0
    for at in points(is_done=is_done):
        before = chaos.outcomes.copy()
        story(chaos, Kill(at, is_write, is_done))
        deaths = sum(n for each, n in (chaos.outcomes - before).items() if ": killed" in each)
        chaos.settle()
        if deaths == (story is healing):  # which begins with one that has died
            break
        deadly += 1
    assert deadly


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


@pytest.mark.parametrize(
    ("generation", "afterwards"),
    [*((Generation.NEWER, each) for each in AFTERWARDS), (Generation.OLDER, "the doctor")],
)
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
