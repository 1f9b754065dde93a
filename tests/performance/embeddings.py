"""How fast texts are embedded, and how each server is asked for it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.performance.load import exchange, prompts_of
from tests.performance.measures import Figures
from tests.performance.running import Broken, Running
from tests.performance.wires import MODEL

BATCH_TEXTS, TEXT_WORDS, CLIENTS, TEXTS_EACH = 32, 60, 8, 8


class EmbedWire(Protocol):
    """How a server is asked for embeddings."""

    path: str

    def vectors(self, reply: Mapping[str, Any]) -> Sequence[Any]:
        """What came, one item a text."""


class OllamaEmbedWire:
    path = "/api/embed"

    def vectors(self, reply: Mapping[str, Any]) -> Sequence[Any]:
        found: Sequence[Any] = reply["embeddings"]
        return found


class OpenAIEmbedWire:
    path = "/v1/embeddings"

    def vectors(self, reply: Mapping[str, Any]) -> Sequence[Any]:
        found: Sequence[Any] = reply["data"]
        return found


class Embeddings:
    """Texts per second: one request of many texts, and many clients with one text each."""

    def __init__(self, wire: EmbedWire) -> None:
        self._wire = wire

    async def __call__(self, server: Running, seed: int) -> Figures:
        await self._embed(server, prompts_of(2, TEXT_WORDS, 7))
        begun = time.perf_counter()
        await self._embed(server, prompts_of(BATCH_TEXTS, TEXT_WORDS, seed))
        batch_s = time.perf_counter() - begun
        begun = time.perf_counter()
        seeds = range(seed + 100, seed + 100 * (CLIENTS + 1), 100)
        await asyncio.gather(*(self._client(server, one) for one in seeds))
        clients_s = time.perf_counter() - begun
        return {"batch": BATCH_TEXTS / batch_s, "clients": CLIENTS * TEXTS_EACH / clients_s}

    async def _client(self, server: Running, seed: int) -> None:
        for text in prompts_of(TEXTS_EACH, TEXT_WORDS, seed):
            await self._embed(server, [text])

    async def _embed(self, server: Running, texts: Sequence[str]) -> None:
        body = {"model": MODEL, "input": texts}
        reply = await exchange(server, "POST", self._wire.path, body)
        count = len(self._wire.vectors(reply))
        if count != len(texts):
            raise Broken(f"{server.program.name} embedded {count} of {len(texts)} texts")
