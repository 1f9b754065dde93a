"""What the tests of the model store share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.models.download import Cut
from server.models.patience import Patience
from server.models.pull import Puller
from server.models.sources import Registries
from server.models.store import Store
from tests.support.rough_proxy import RoughProxy

# As in the program, but for how long is waited and how small a part may be.
SWIFT = Patience(connect_s=10, stall_s=30, tries=4, first_wait_s=0.001, longest_wait_s=0.002)
SMALL = Cut(least_bytes=64 << 10, most_bytes=1 << 20, num_streams=4)


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
