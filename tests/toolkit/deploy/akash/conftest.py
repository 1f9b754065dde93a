"""An account, providers and their ingress, all on loopback; and a keeper over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console import renting
from tests.support.console.chaos import Chaos
from tests.support.console.fixtures import no_waits
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Generation
from tests.support.console.world import World
from toolkit.deploy.keeper import Keeper

__all__ = ["no_waits"]


@pytest.fixture
def world() -> World:
    return World(hosts=renting.hosts(1000, 1100, 1200))


@pytest.fixture
def server(world: World) -> Iterator[ConsoleServer]:
    with ConsoleServer(world, blocks_per_look=1) as server:
        yield server


@pytest.fixture
def ingress(world: World, tmp_path: Path) -> Iterator[Ingress]:
    with Ingress(world, tmp_path) as ingress:
        yield ingress


@pytest.fixture
def keeper(server: ConsoleServer, ingress: Ingress) -> Keeper:
    return renting.keeper(server)


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    """An account in which everything goes wrong; what is asked again is so once."""
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path) as chaos:
        yield chaos


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Chaos]:
    """The same at an older Console."""
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path, Generation.OLDER) as chaos:
        yield chaos
