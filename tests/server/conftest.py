"""What the tests of the server and of its store share: a rough network before the registry,
and servers that pull through it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from server.models.store import Store
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import RoughProxy
from tests.support.serving import Serving, write_gguf


@pytest.fixture
async def proxy(registry: ImageRegistry) -> AsyncIterator[RoughProxy]:
    """The rough network before the registry."""
    proxy = RoughProxy(registry.url)
    async with proxy.serve():
        yield proxy


@pytest.fixture
def small_store(akash_home: Path, tmp_path: Path) -> Store:
    """The store of the test's home. It has the model `m`, so that no server fetches one."""
    store = Store(akash_home / "models")
    store.add_file("m", write_gguf(tmp_path / "m.gguf"))
    return store


@pytest.fixture
def start_server(
    tmp_path: Path, small_store: Store, proxy: RoughProxy, free_port: Callable[[], int]
) -> Callable[..., Serving]:
    """A function that makes a server on that store which may pull through the proxy; enter it."""

    def make(*args: str) -> Serving:
        places = ("--models", str(small_store.root), "--registries", proxy.url)
        return Serving(tmp_path, free_port(), args=[*places, *args])

    return make
