"""The engine `--engine ollama`: the models of an Ollama, over its own API.

Ollama makes prompts from its templates and reads what its models write; what is added here are
keys, limits, metrics, and what its other dialects lack.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import msgspec

from server.engine.entry import Lease, LoadedEntry
from server.engine.tally import ModelCounts
from server.engine.types import LoadedModel
from server.errors import ModelNotFound, NotFound, ServerError, UpstreamFailed
from server.models.model import Model, ModelKey
from server.models.name import ModelName
from server.settings import Settings, SettingsError
from server.upstream.base import LOOK_S, Book, UpstreamEngine
from server.upstream.listed import ListedModel, name_of
from server.upstream.ollama_library import OllamaLibrary
from server.upstream.ollama_model import OllamaModel
from server.upstream.ollama_shown import described, expires_at, info_of, listed
from server.upstream.ollama_wire import Processes, Running, Shown, Tags

ENGINE: Final = "Ollama"
# It reads the head of a file for that.
_SHOW_S: Final = 30.0


def open_engine(settings: Settings) -> "OllamaEngine":
    """The engine as the settings want it. Raises `SettingsError` for a model that is to be
    preloaded and may not be pulled."""
    engine = OllamaEngine(settings)
    try:
        for name in settings.preload if settings.pull else ():
            engine.library.check(name)
    except ServerError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise SettingsError(f"cannot preload: {error.message}{hint}") from None
    return engine


class OllamaEngine(UpstreamEngine):
    """See `UpstreamEngine`. `/api/tags` and `/api/ps` are looked at again and again, the rest
    is asked once for each digest."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(ENGINE, settings)
        self._library = OllamaLibrary(
            self._wire, settings.registries, is_there=self._is_there, changed=self._see_anew
        )
        self.puller = self._library if settings.pull else None
        self._running: dict[ModelName, Running] = {}
        self._shown: dict[ModelName, ListedModel] = {}
        self._showing = asyncio.Lock()

    @property
    def library(self) -> OllamaLibrary:
        return self._library

    async def find(self, name: ModelName) -> ListedModel:
        model = await super().find(name)
        if (shown := self._known(model)) is not None:
            return shown
        async with self._showing:
            if (shown := self._known(model)) is None:
                shown = self._shown[model.key] = await self._describe(model, verbose=False)
            return shown

    async def detailed(self, model: Model) -> Model:
        return await self._describe(await super().find(model.name), verbose=True)

    @asynccontextmanager
    async def use(self, model: Model, *, keep_alive_s: float | None) -> AsyncIterator[Lease]:
        """`keep_alive_s` goes to Ollama with the request."""
        async with super().use(model, keep_alive_s=keep_alive_s) as lease:
            opened = lease.model
            kept = opened.kept(keep_alive_s) if isinstance(opened, OllamaModel) else opened
            yield Lease(kept, lease.load_ns)

    def loaded(self) -> Sequence[LoadedEntry]:
        """What Ollama has in memory, for whomever."""
        return [
            self._entry(key, model, running)
            for key, running in self._running.items()
            if (model := self._there.get(key)) is not None
        ]

    async def unload(self, model: Model) -> None:
        await super().unload(model)
        await self._library.unload(_upstream_name(model))
        await self._see_running()

    def counts(self) -> Sequence[ModelCounts]:
        return [
            msgspec.structs.replace(
                counts,
                is_loaded=(running := self._loaded_as(counts.key)) is not None,
                memory_bytes=running.size if running else 0,
            )
            for counts in super().counts()
        ]

    async def _look(self) -> Sequence[ListedModel]:
        try:
            tags = await self._wire.get("/api/tags", Tags, within_s=LOOK_S)
        except NotFound:
            raise UpstreamFailed("what answers at --upstream is no Ollama") from None
        self._running = await self._read_running()
        models = [listed(tag) for tag in tags.models or ()]
        keys = {model.key for model in models}
        self._shown = {key: model for key, model in self._shown.items() if key in keys}
        return models

    async def _open(self, model: ListedModel, book: Book) -> LoadedModel:
        return OllamaModel(
            self._wire,
            model,
            book,
            running=partial(self._loaded_as, model.key),
            was_used=partial(self._was_used, model.key),
        )

    def _lost(self, problem: str) -> None:
        super()._lost(problem)
        self._running = {}

    async def _describe(self, model: ListedModel, *, verbose: bool) -> ListedModel:
        body = {"model": model.upstream_name, "verbose": verbose}
        try:
            data = await self._wire.read("POST", "/api/show", body=body, within_s=_SHOW_S)
        except NotFound as error:
            raise ModelNotFound(error.message) from None
        return described(model, self._wire.decode(data, Shown))

    def _known(self, model: ListedModel) -> ListedModel | None:
        """What was asked of it already, if it is still the same."""
        shown = self._shown.get(model.key)
        return shown if shown is not None and shown.digest == model.digest else None

    async def _read_running(self) -> dict[ModelName, Running]:
        try:
            found = await self._wire.get("/api/ps", Processes, within_s=LOOK_S)
        except NotFound:  # in versions of long ago
            return {}
        return {name_of(one.name).folded(): one for one in found.models or ()}

    async def _see_running(self) -> None:
        with suppress(ServerError):
            self._running = await self._read_running()

    async def _see_anew(self) -> None:
        """Look at it in a look that begins now."""
        async with self._looking:
            pass
        await self._see()

    async def _was_used(self, key: ModelName) -> None:
        """Who asks now what is in memory is to find it."""
        if key not in self._running:
            await self._see_running()

    def _is_there(self, name: ModelName) -> bool:
        return name.folded() in self._there

    def _loaded_as(self, key: ModelKey) -> Running | None:
        return self._running.get(key) if isinstance(key, ModelName) else None

    def _entry(self, key: ModelName, model: ListedModel, running: Running) -> LoadedEntry:
        return LoadedEntry(
            key=key,
            info=info_of(model, running),
            memory_bytes=running.size,
            expires_at=expires_at(running),
            stats=self._books.get(key, Book()).stats,
            num_restarts=0,
            pid=None,
            vram_bytes=running.size_vram,
            model=model,
        )


def _upstream_name(model: Model) -> str:
    return model.upstream_name if isinstance(model, ListedModel) else model.name.display()
