"""What the tests of the model store share: a registry, and a rough network before it."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from server.models.download import Cut
from server.models.patience import Patience
from server.models.pull import Puller
from server.models.sources import Registries
from server.models.store import Store
from tests.support.image_registry import PROGRAM, ImageRegistry
from tests.support.ports import free_port
from tests.support.rough_proxy import RoughProxy

# As in the program, but for how long is waited and how small a part may be.
SWIFT = Patience(connect_s=10, stall_s=30, tries=4, first_wait_s=0.001, longest_wait_s=0.002)
SMALL = Cut(least_bytes=64 << 10, most_bytes=1 << 20, num_streams=4)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    """A real registry; tests push what they need under names of their own."""
    if shutil.which(PROGRAM) is None:
        pytest.skip("there is no docker-registry: see system-packages.txt")
    with ImageRegistry(tmp_path_factory.mktemp("registry"), free_port()) as registry:
        yield registry


@pytest.fixture
async def proxy(registry: ImageRegistry) -> AsyncIterator[RoughProxy]:
    """The rough network before the registry."""
    proxy = RoughProxy(registry.url)
    async with proxy.serve():
        yield proxy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "models")


@pytest.fixture
def new_puller(store: Store, proxy: RoughProxy) -> Callable[..., Puller]:
    """A function that makes a puller which may use the proxy."""

    def make(patience: Patience = SWIFT, cut: Cut = SMALL) -> Puller:
        return Puller(store, Registries.parse([proxy.url]), patience=patience, cut=cut)

    return make


@pytest.fixture
def puller(new_puller: Callable[..., Puller]) -> Puller:
    """A puller that may use the proxy."""
    return new_puller()
