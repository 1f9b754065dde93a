"""A simulated account that programs and panels find by their environment, as a person's; fixtures
that folders of tests share. Their `conftest.py` takes them over.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.console import renting
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World

# The value of HF_TOKEN, a variable to seal.
CANARY = "hf_canary0f0a0token"


@pytest.fixture
def world() -> World:
    return World(hosts=renting.hosts(1000, 1100, 1200))


@pytest.fixture
def server(
    world: World, stocked_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConsoleServer]:
    """The Console, announced; what is asked again in this process is asked again at once."""
    with stamina.set_testing(True, attempts=2), ConsoleServer(world, blocks_per_look=1) as server:
        renting.announce(server, monkeypatch)
        monkeypatch.setenv("HF_TOKEN", CANARY)
        yield server


@pytest.fixture
def ingress(world: World, tmp_path: Path) -> Iterator[Ingress]:
    """Where what is leased answers."""
    with Ingress(world, tmp_path) as ingress:
        yield ingress
