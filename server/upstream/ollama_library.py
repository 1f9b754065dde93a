"""The models of an Ollama, changed from here: each route asks it for the same."""

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from server.errors import (
    InvalidRequest,
    NotFound,
    PullFailed,
    ServerError,
    UpstreamFailed,
)
from server.models.library import Library
from server.models.manifest import parse_digest
from server.models.name import ModelName
from server.models.pull import SUCCESS, Progress, Steps
from server.models.recipe import Recipe
from server.models.sources import Registries
from server.upstream.ollama_requests import GENERATE, kept
from server.upstream.ollama_wire import Chunk, Step
from server.upstream.wire import Wire

_NOT_THERE: Final = "file does not exist"


class OllamaLibrary(Library):
    """See `Library`. From other registries than may be used here, Ollama is not asked to get
    anything either."""

    def __init__(
        self,
        wire: Wire,
        registries: Registries,
        *,
        is_there: Callable[[ModelName], bool],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """`is_there` says whether Ollama has a model, `changed` is told when it has others than
        before."""
        self._wire = wire
        self._registries = registries
        self._is_there = is_there
        self._changed = changed

    def name_of(self, source: str) -> ModelName:
        return ModelName.parse(source)

    def check(self, source: str, *, insecure: bool = False) -> None:
        """Raise `InvalidRequest` for what is no name, `Forbidden` for a registry that may not
        be used."""
        self._registries.url(self.name_of(source).host, insecure=insecure)

    async def pull(self, source: str, *, insecure: bool = False) -> Steps:
        self.check(source, insecure=insecure)
        body = {"model": self.name_of(source).display(), "insecure": insecure, "stream": True}
        async for step in self._steps("/api/pull", body):
            yield step

    async def create(self, recipe: Recipe) -> Steps:
        if recipe.base and not self._is_there(self.name_of(recipe.base)):
            self.check(recipe.base)  # Ollama pulls it
        async for step in self._steps("/api/create", _created(recipe)):
            yield step

    async def copy(self, source: str, destination: str) -> None:
        body = {"source": source, "destination": destination}
        await self._wire.read("POST", "/api/copy", body=body)
        await self._changed()

    async def remove(self, name: ModelName) -> None:
        """Ollama would leave it in memory."""
        await self.unload(name.display())
        await self._wire.read("DELETE", "/api/delete", body={"model": name.display()})
        await self._changed()

    async def unload(self, name: str) -> None:
        """Have it end; nothing if there is no such model."""
        with suppress(NotFound):
            body = {"model": name, "stream": False, **kept(0)}
            await self._wire.post(GENERATE, body, Chunk)

    async def keep_blob(self, digest: str) -> bool:
        try:
            await self._wire.read("HEAD", f"/api/blobs/{parse_digest(digest)}")
        except NotFound:
            return False
        return True

    async def take_blob(self, digest: str, chunks: AsyncIterable[bytes], *, size: int) -> bool:
        """It goes on as it comes; nothing is kept here."""
        if await self.keep_blob(digest):
            return False
        await self._wire.read("POST", f"/api/blobs/{parse_digest(digest)}", content=chunks)
        return True

    async def _steps(self, path: str, body: dict[str, Any]) -> Steps:
        """Raises what Ollama says in its words, and `PullFailed` if it ends too early."""
        is_done = False
        async with self._wire.lines(path, body) as lines:
            async for line in lines:
                step = _progress(self._wire.decode(line, Step))
                is_done = step == SUCCESS
                if is_done:
                    await self._wire.run_out(lines)
                    break
                yield step
        if not is_done:
            raise PullFailed("Ollama ended before it was done")
        await self._changed()
        yield SUCCESS


def _progress(step: Step) -> Progress:
    if step.error is not None:
        raise _failure(step)
    return Progress(str(step.status), step.digest, step.total, step.completed)


def _failure(step: Step) -> ServerError:
    said = step.error if isinstance(step.error, str) else "Ollama does not say what failed"
    kinds: dict[str | int, type[ServerError]] = {400: InvalidRequest, 404: NotFound}
    is_missing = said.endswith(_NOT_THERE)
    return kinds.get(step.status, NotFound if is_missing else UpstreamFailed)(said)


def _created(recipe: Recipe) -> dict[str, Any]:
    """The body of `/api/create`. A template is one of Go there."""
    said: dict[str, Any] = {
        "from": recipe.base,
        "files": dict(recipe.files),
        "adapters": dict(recipe.adapters),
        "parameters": dict(recipe.parameters),
        "template": recipe.template,
        "system": recipe.system,
        "messages": _plain(recipe.messages),
        "license": list(recipe.licenses),
        "quantize": recipe.quantize,
    }
    return {"model": recipe.name, "stream": True} | {k: v for k, v in said.items() if v}


def _plain(messages: Sequence[msgspec.Struct]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(message) for message in messages]
