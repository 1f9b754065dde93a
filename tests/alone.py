"""Tests run on two workers; one marked `alone` runs while the other one does nothing.

What times something, or fills the machine by itself, says little beside another test. Each
test holds a shared lock, one that is alone the only one. Who waits for it holds the gate, so
that no further test goes in before.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the mark."""
    config.addinivalue_line("markers", "alone: no other test runs beside it")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run a test, its fixtures included, when it may."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = Path(item.config.option.basetemp).parent  # of all workers of a run
    is_alone = item.get_closest_marker("alone") is not None
    kind = fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH
    with (
        _locked(folder / "alone.gate", fcntl.LOCK_EX) as gate,
        _locked(folder / "alone.tests", kind),
    ):
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, kind)
        yield handle
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile has it, too
        os.close(handle)
