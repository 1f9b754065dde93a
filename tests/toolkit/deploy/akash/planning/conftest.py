"""Models of every size in the store of the test, and a Console with hosts of many kinds."""

from pathlib import Path

import pytest

from tests.support.console import samples
from tests.support.console.fixtures import console, no_waits, old_console, old_server, server
from tests.support.console.states import Generation
from tests.support.console.world import World
from tests.support.stored_models import EIGHT, SEVENTY, put_hole
from toolkit import paths

__all__ = ["console", "no_waits", "old_console", "old_server", "server"]


@pytest.fixture
def models(stocked_home: Path) -> None:
    """smollm2:135m, `eight:8b` and `seventy:70b`."""
    put_hole(paths.models(), "eight:8b", EIGHT)
    put_hole(paths.models(), "seventy:70b", SEVENTY)


@pytest.fixture
def world() -> World:
    return World(hosts=samples.MARKET)


@pytest.fixture
def old_world() -> World:
    return World(hosts=samples.MARKET, generation=Generation.OLDER)
