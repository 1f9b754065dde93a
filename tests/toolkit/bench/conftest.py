"""Figures that tests measure and do not assert are printed at the end of the report."""

import os
from collections.abc import Callable

import pytest

TOLD = pytest.StashKey[list[str]]()
Tell = Callable[[str], None]


def skip_if_busy() -> None:
    """Called when times are off: they say nothing where others keep the processors busy."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        pytest.skip(f"too busy to time anything: a load of {load:.1f} on {cores} cores")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """A function that keeps a line for the end of the report."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was told."""
    for line in terminalreporter.config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
