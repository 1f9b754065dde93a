"""What the tests of the server and of its store share: a rough network before the registry."""

from collections.abc import AsyncIterator

import pytest

from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import RoughProxy


@pytest.fixture
async def proxy(registry: ImageRegistry) -> AsyncIterator[RoughProxy]:
    """The rough network before the registry."""
    proxy = RoughProxy(registry.url)
    async with proxy.serve():
        yield proxy
