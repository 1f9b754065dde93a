"""The engine of this machine: models of a store, in runner processes with llama.cpp."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

from server.engine import memory
from server.engine.budget import Budget
from server.engine.config import EngineConfig
from server.engine.entry import Lease, LoadedEntry, State
from server.engine.quantizer import Quantizer
from server.engine.requantizer import Requantizer
from server.engine.supervisor import DEFAULT_KEEP_ALIVE_S, Supervisor
from server.engine.tally import ModelCounts
from server.errors import ModelUnusable, ServerError
from server.models import garbage
from server.models.library import Library, StoreLibrary
from server.models.model import Model
from server.models.model_files import ModelFiles
from server.models.name import ModelName
from server.models.pull import Puller
from server.models.store import Store
from server.models.stored import StoredModel
from server.models.wheel import EMBEDDED, can_fetch, embedded
from server.settings import Settings, SettingsError


def open_engine(settings: Settings) -> "LocalEngine":
    """The engine as the settings want it. Raises `SettingsError`."""
    return LocalEngine.of(settings, engine_config(settings))


def engine_config(settings: Settings) -> EngineConfig:
    """What the settings say to the engine."""
    return EngineConfig(
        context=settings.context,
        parallel=settings.parallel,
        pool=settings.pool,
        parking_bytes=settings.parking,
        share_prefixes=settings.share_prefixes,
        speculate=settings.speculate,
        threads=settings.threads,
        batch_threads=settings.batch_threads,
        batch=settings.batch,
        micro_batch=settings.micro_batch,
        queue=settings.max_queue,
        placement=settings.placement,
        attention=settings.attention,
    )


def memory_budget(settings: Settings) -> Budget:
    """What models may take together, as the settings say it."""
    memory_bytes = settings.memory or memory.default_budget()
    return Budget(memory_bytes=memory_bytes, max_loaded=settings.max_loaded)


class LocalEngine:
    """See `server.api.engines.Engine`."""

    may_recover = False

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        library: Library,
        *,
        preload: Sequence[str] = (),
        preload_keep_alive_s: float = DEFAULT_KEEP_ALIVE_S,
        is_empty: bool = False,
        may_pull: bool = False,
        may_prune: bool = False,
    ) -> None:
        """`preload` are the models that `begin` begins to load, as far as they are there;
        `is_empty`: the store has no models and is to get the embedded one."""
        self.library = library
        self.puller = library if may_pull else None
        self.stock: Callable[[], Awaitable[object]] | None
        self.stock = partial(embedded, store) if is_empty and can_fetch() else None
        self._store = store
        self._supervisor = supervisor
        self._preload = tuple(preload)
        self._preload_keep_alive_s = preload_keep_alive_s
        self._may_prune = may_prune

    @classmethod
    def of(cls, settings: Settings, config: EngineConfig) -> "LocalEngine":
        """Raises `SettingsError` for a store that cannot be used, and for a model that is to be
        preloaded and is not in it and does not come."""
        store = Store(settings.models)
        is_empty = _check_models(settings, store)
        requantizer = _requantizer(settings, store)
        supervisor = Supervisor(
            config,
            keep_alive_s=settings.keep_alive,
            requantizer=requantizer,
            budget=memory_budget(settings),
            needed=partial(memory.needed, read=store.header, requantizer=requantizer),
        )
        library = StoreLibrary(store, settings.registries, Quantizer(threads=settings.threads or 0))
        return cls(
            store,
            supervisor,
            library,
            preload=settings.preload,
            preload_keep_alive_s=settings.preload_keep_alive,
            is_empty=is_empty,
            may_pull=settings.pull,
            may_prune=settings.prune,
        )

    def begin(self) -> None:
        """Begin to load what is to be preloaded; what has to come first is left to
        `server.preload`."""
        for name in self._preload:
            with suppress(ServerError):
                files = self._store.get(name).files()
                self._supervisor.start_loading(files, keep_alive_s=self._preload_keep_alive_s)

    async def work(self) -> None:
        """What is done beside requests for as long as the server runs."""
        if self._may_prune:
            await garbage.collected(self._store)

    async def close(self) -> None:
        """End every model. Requests in them fail. May be called twice."""
        await self._supervisor.close()

    async def find(self, name: ModelName) -> StoredModel:
        return await asyncio.to_thread(self._store.get, name)

    async def list(self) -> Sequence[StoredModel]:
        return await asyncio.to_thread(self._store.list)

    async def detailed(self, model: Model) -> Model:
        return model

    def use(
        self, model: Model, *, keep_alive_s: float | None
    ) -> AbstractAsyncContextManager[Lease]:
        return self._supervisor.use(_files(model), keep_alive_s=keep_alive_s)

    def loaded(self) -> Sequence[LoadedEntry]:
        return self._supervisor.loaded()

    async def unload(self, model: Model) -> None:
        await self._supervisor.unload(_files(model))

    def state(self, model: Model | None = None) -> State:
        return self._supervisor.state(_files(model)) if model else State.READY

    def progress(self, model: Model) -> float:
        return self._supervisor.progress(_files(model))

    def problem(self, model: Model | None = None) -> str:
        return self._supervisor.problem(_files(model)) if model else ""

    def requantized(self, model: Model) -> str:
        if isinstance(model, StoredModel) and model.header is not None:
            return self._supervisor.requantized(model.header)
        return ""

    def counts(self) -> Sequence[ModelCounts]:
        return self._supervisor.counts()

    @property
    def memory_budget_bytes(self) -> int | None:
        return self._supervisor.budget.memory_bytes

    async def metrics(self) -> bytes:
        return b""


def _files(model: Model) -> ModelFiles:
    if isinstance(model.key, ModelFiles):
        return model.key
    raise ModelUnusable(f"{model.name.display()} is not a model of this machine")


def _requantizer(settings: Settings, store: Store) -> Requantizer | None:
    if settings.requantize == "off":
        return None
    return Requantizer(store.requantized, settings.requantize, threads=settings.threads)


def _check_models(settings: Settings, store: Store) -> bool:
    """Whether the store is to get the embedded model. Raises `SettingsError` for a preload that
    is not in it and does not come."""
    if settings.models.exists() and not settings.models.is_dir():
        raise SettingsError(f"--models must be a folder, and {settings.models} is a file")
    try:
        is_empty = not store.list()
        if settings.pull and settings.preload:
            puller = Puller(store, settings.registries)
            for name in settings.preload:
                puller.check(name)
            return False
        for name in settings.preload:
            is_coming = is_empty and ModelName.parse(name).same_as(ModelName.parse(EMBEDDED))
            if not is_coming:
                store.get(name).check()
    except ServerError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise SettingsError(f"cannot preload: {error.message}{hint}") from None
    except OSError as error:
        raise SettingsError(f"cannot read the model store {settings.models}: {error}") from None
    return is_empty
