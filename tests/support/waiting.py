"""Waiting for what another process does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], within_s: float = 20) -> None:
    """Return once it holds; fail if it never does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
