"""A Console of either generation with a few hosts, and the client of it."""

import pytest

from tests.support.console import samples
from tests.support.console.fixtures import console, no_waits, old_console, old_server, server
from tests.support.console.states import Generation
from tests.support.console.world import World

__all__ = ["console", "no_waits", "old_console", "old_server", "server"]


@pytest.fixture
def world() -> World:
    return World(hosts=samples.HOSTS)


@pytest.fixture
def old_world() -> World:
    return World(hosts=samples.HOSTS, generation=Generation.OLDER)
