"""Where the models of a server come from and go to: what Ollama's management routes ask for."""

import asyncio
from collections.abc import AsyncIterable
from typing import Protocol

from server.models import uploads
from server.models.create import Creator, Quantizer
from server.models.name import ModelName
from server.models.pull import Puller, Steps
from server.models.recipe import Recipe
from server.models.sources import Registries
from server.models.store import Store


class ModelSource(Protocol):
    """Gets models by the names of requests. Raises `ServerError`s."""

    def name_of(self, source: str) -> ModelName:
        """What a model is called after it was pulled. Raises `InvalidRequest`."""

    def pull(self, source: str, *, insecure: bool = False) -> Steps:
        """Get a model; close the generator to stop."""


class Library(ModelSource, Protocol):
    """Makes, copies and removes them, too. Digests are `sha256:HEX`."""

    def create(self, recipe: Recipe) -> Steps:
        """Make a model of others; close the generator to stop."""

    async def copy(self, source: str, destination: str) -> None:
        """Give a model another name."""

    async def remove(self, name: ModelName) -> None:
        """Remove a model."""

    async def keep_blob(self, digest: str) -> bool:
        """Whether a blob is there; if it is, it stays for a while."""

    async def take_blob(self, digest: str, chunks: AsyncIterable[bytes], *, size: int) -> bool:
        """Take a blob in of so many bytes (0: nobody said); False if it was there."""


class StoreLibrary:
    """The library over a store. One per process and event loop, because pulls share their
    downloads."""

    def __init__(self, store: Store, registries: Registries, quantizer: Quantizer) -> None:
        self._store = store
        self._puller = Puller(store, registries)
        self._creator = Creator(store, puller=self._puller, quantizer=quantizer)

    def name_of(self, source: str) -> ModelName:
        return self._puller.name_of(source)

    def pull(self, source: str, *, insecure: bool = False) -> Steps:
        return self._puller.pull(source, insecure=insecure)

    def create(self, recipe: Recipe) -> Steps:
        return self._creator.create(recipe)

    async def copy(self, source: str, destination: str) -> None:
        await asyncio.to_thread(self._store.copy, source, destination)

    async def remove(self, name: ModelName) -> None:
        await asyncio.to_thread(self._store.remove, name)

    async def keep_blob(self, digest: str) -> bool:
        return await uploads.keep_blob(self._store, digest)

    async def take_blob(self, digest: str, chunks: AsyncIterable[bytes], *, size: int) -> bool:
        return await uploads.upload(self._store, digest, chunks, size=size)
