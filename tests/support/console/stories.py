"""What a person does, to be cut short at each of its points: a request, or a write to the ledger.

By default each third point; with KILLS=all, as `make soak` sets it, each.
"""

import os
from collections.abc import Callable, Iterator

from tests.support.console.chaos import Chaos, Kill, Stop

Cut = Kill | Stop
Story = Callable[[Chaos, Cut | None], None]

_MOST = 60
STEP = 1 if os.environ.get("KILLS") == "all" else 3


def points(*, is_done: bool) -> Iterator[int]:
    """Numbers of points, until who asks has seen one that was not reached."""
    # No story has fewer points than two.
    yield from range(1 + is_done % STEP, _MOST, STEP)
    raise AssertionError(f"more than {_MOST} points")


def opening(chaos: Chaos, cut: Cut | None) -> None:
    chaos.deploy("one", kill=cut)


def updating(chaos: Chaos, cut: Cut | None) -> None:
    chaos.deploy("one")
    chaos.deploy("one", image=2, kill=cut)


def replacing(chaos: Chaos, cut: Cut | None) -> None:
    chaos.deploy("one")
    chaos.deploy("one", cpu=4, kill=cut)


def closing(chaos: Chaos, cut: Cut | None) -> None:
    chaos.deploy("one")
    chaos.close("one", kill=cut)
