"""Models of every size in the store of the test, and a Console with hosts of many kinds."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console import samples
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from tests.support.stored_models import EIGHT, SEVENTY, put_hole
from toolkit import paths
from toolkit.deploy.console.client import ConsoleClient


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


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


@pytest.fixture
def server(world: World) -> Iterator[ConsoleServer]:
    with ConsoleServer(world) as server:
        yield server


@pytest.fixture
async def console(server: ConsoleServer) -> AsyncIterator[ConsoleClient]:
    async with ConsoleClient(server.key, url=server.url) as client:
        yield client


@pytest.fixture
async def old_console(old_world: World) -> AsyncIterator[ConsoleClient]:
    with ConsoleServer(old_world) as server:
        async with ConsoleClient(server.key, url=server.url) as client:
            yield client
