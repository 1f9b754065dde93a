"""An account, providers and their ingress, all on loopback; and a keeper over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console import renting
from tests.support.console.fixtures import no_waits
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
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
