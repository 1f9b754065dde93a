"""Somebody stops a deploy, a change or a close at any of its requests.

What was begun is tidied up then; what cannot be is in the books, for the doctor.
"""

import pytest

from tests.support.console.chaos import Chaos, Stop
from tests.support.console.stories import Story, closing, opening, points, replacing, updating

# asyncio leaves a socket to the collector when it is stopped in the middle of a TLS handshake.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("is_done", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("story", [opening, updating, replacing, closing])
def test_wherever_it_is_stopped_nothing_is_left(chaos: Chaos, story: Story, is_done: bool) -> None:
    for at in points(is_done=is_done):
        story(chaos, Stop(at, is_done))
        was_reached = chaos.requests >= at
        chaos.settle()
        if not was_reached:
            break
    assert any("stopped" in each for each in chaos.outcomes)


@pytest.mark.parametrize("at", [4, 6, 8])
def test_one_who_is_stopped_goes_on_with_what_is_left(chaos: Chaos, at: int) -> None:
    chaos.deploy("one", kill=Stop(at))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: stopped": 1, "deploy: done": 1}
    assert sum(each.is_active for each in chaos.world.deployments.values()) == 1
    chaos.settle()
