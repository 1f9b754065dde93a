"""The library of an engine whose models are not for us to change."""

from collections.abc import AsyncIterable

from server.errors import Unsupported
from server.models.library import Library
from server.models.name import ModelName
from server.models.pull import Steps
from server.models.recipe import Recipe


class FixedLibrary(Library):
    """See `Library`. All of it is refused with one reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _refusal(self) -> Unsupported:
        return Unsupported(self._reason)

    def name_of(self, source: str) -> ModelName:
        return ModelName.parse(source)

    async def pull(self, source: str, *, insecure: bool = False) -> Steps:
        raise self._refusal()
        yield

    async def create(self, recipe: Recipe) -> Steps:
        raise self._refusal()
        yield

    async def copy(self, source: str, destination: str) -> None:
        raise self._refusal()

    async def remove(self, name: ModelName) -> None:
        raise self._refusal()

    async def keep_blob(self, digest: str) -> bool:
        raise self._refusal()

    async def take_blob(self, digest: str, chunks: AsyncIterable[bytes], *, size: int) -> bool:
        raise self._refusal()
