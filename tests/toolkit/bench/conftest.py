"""Figures that tests measure and do not assert are printed at the end of the report."""

from collections.abc import Callable

import pytest

TOLD = pytest.StashKey[list[str]]()
Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """A function that keeps a line for the end of the report."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was told."""
    for line in terminalreporter.config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
