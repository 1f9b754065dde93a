"""A Console of either generation on a real port, and a client of it: fixtures that folders of tests
share. Their `conftest.py` takes them over and says which hosts there are.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import stamina

from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from toolkit.deploy.console.client import ConsoleClient


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """What is asked again is asked again at once, three times in all."""
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.fixture
def server(world: World) -> Iterator[ConsoleServer]:
    with ConsoleServer(world) as server:
        yield server


@pytest.fixture
def old_server(old_world: World) -> Iterator[ConsoleServer]:
    with ConsoleServer(old_world) as server:
        yield server


@pytest.fixture
async def console(server: ConsoleServer) -> AsyncIterator[ConsoleClient]:
    async with ConsoleClient(server.key, url=server.url) as client:
        yield client


@pytest.fixture
async def old_console(old_server: ConsoleServer) -> AsyncIterator[ConsoleClient]:
    async with ConsoleClient(old_server.key, url=old_server.url) as client:
        yield client
