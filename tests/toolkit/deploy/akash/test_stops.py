"""Somebody stops a deploy, a change or a close at any of its requests.

What was begun is tidied up then; what cannot be is in the books, for the doctor. Each third
request; with KILLS=all each.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console.chaos import Chaos, Stop

# asyncio leaves a socket to the collector when it is stopped in the middle of a TLS handshake.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MOST = 60
STEP = 1 if os.environ.get("KILLS") == "all" else 3


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path) as chaos:
        yield chaos


def opening(chaos: Chaos, stop: Stop) -> None:
    chaos.deploy("one", kill=stop)


def updating(chaos: Chaos, stop: Stop) -> None:
    chaos.deploy("one")
    chaos.deploy("one", image=2, kill=stop)


def replacing(chaos: Chaos, stop: Stop) -> None:
    chaos.deploy("one")
    chaos.deploy("one", cpu=4, kill=stop)


def closing(chaos: Chaos, stop: Stop) -> None:
    chaos.deploy("one")
    chaos.close("one", kill=stop)


@pytest.mark.parametrize("is_done", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("story", [opening, updating, replacing, closing])
def test_wherever_it_is_stopped_nothing_is_left(
    chaos: Chaos, story: Callable[[Chaos, Stop], None], is_done: bool
) -> None:
    first = 1 + is_done
    for at in range(first, MOST, STEP):
        stop = Stop(at, is_done)
        story(chaos, stop)
        was_reached = chaos.requests >= at
        chaos.settle()
        if not was_reached:
            break
    assert not was_reached, f"more than {MOST} requests"
    assert at > first and any("stopped" in each for each in chaos.outcomes)


@pytest.mark.parametrize("at", [4, 8, 12])
def test_one_who_is_stopped_goes_on_with_what_is_left(chaos: Chaos, at: int) -> None:
    chaos.deploy("one", kill=Stop(at))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: stopped": 1, "deploy: done": 1}
    assert sum(each.is_active for each in chaos.world.deployments.values()) == 1
    chaos.settle()
