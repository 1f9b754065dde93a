"""What engines over another server have in common: which models it has, whether it is there,
how many requests may be with it at once, and what they came to.

The other server is looked at every few seconds. What was seen then counts until the next time,
so that a request need not ask for it.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from server.engine.entry import FOREVER, Lease, LoadedEntry, State
from server.engine.tally import ModelCounts
from server.engine.types import EngineCounts, EngineStats, Finish, LoadedModel
from server.errors import (
    ModelNotFound,
    Overloaded,
    ServerError,
    UpstreamFailed,
    UpstreamGone,
    UpstreamSilent,
)
from server.metrics import PREFIX, UPSTREAM_UP
from server.models.library import Library, ModelSource
from server.models.model import Model
from server.models.name import ModelName
from server.settings import Settings
from server.upstream.listed import ListedModel
from server.upstream.wire import Wire

_log = logging.getLogger("akash_llm.upstream")

LOOK_EVERY_S: Final = 2.0
# A look must not wait for a server that computes; how long requests may take is a setting.
LOOK_S: Final = 5.0
_MOST_SILENCES: Final = 3
_LOOK_IN_ALL_S: Final = 15.0


@dataclass(slots=True, eq=False)
class Book:
    """What requests for one model came to."""

    counts: EngineCounts = field(default_factory=EngineCounts)
    num_running: int = 0

    def add(self, finish: Finish) -> None:
        """One has ended by itself."""
        self.counts.prompt_tokens += finish.prompt_tokens
        self.counts.cached_tokens += finish.cached_tokens
        self.counts.output_tokens += finish.output_tokens

    @property
    def stats(self) -> EngineStats:
        """The counters, and how many requests are there now."""
        return EngineStats(**msgspec.structs.asdict(self.counts), num_running=self.num_running)


class UpstreamEngine(ABC):
    """See `server.api.engines.Engine`. A kind of server is a subclass: it says which models there
    are (`_look`) and how one is used (`_open`)."""

    may_recover = True
    stock = None
    puller: ModelSource | None = None
    memory_budget_bytes = None

    def __init__(self, engine: str, settings: Settings) -> None:
        """`engine` is what messages call it."""
        self._engine = engine
        self._wire = Wire(
            engine,
            settings.upstream or "",
            key=settings.upstream_key,
            timeout_s=settings.upstream_timeout,
        )
        self._most_running = settings.max_queue
        self._books: dict[ModelName, Book] = {}
        self._there: dict[ModelName, ListedModel] = {}
        self._opened: dict[ModelName, LoadedModel] = {}
        self._opening = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._has_answered = False
        self._num_silences = 0
        # How often something was lost or became another.
        self._num_changes = 0
        # When it was first seen here: it does not say when it got its models.
        self.since_ns = time.time_ns()
        self._problem = f"{engine} has not answered yet"
        self._is_closed = False
        self._first_look: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def library(self) -> Library: ...

    @abstractmethod
    async def _look(self) -> Sequence[ListedModel]:
        """The models there, newest first. Raises `ServerError`s if it is not well."""

    @abstractmethod
    async def _open(self, model: ListedModel, book: Book) -> LoadedModel:
        """The model as it can be used. It tells `book` what its requests came to."""

    def begin(self) -> None:
        """Look at it for the first time."""
        self._first_look = asyncio.create_task(self._see())

    async def work(self) -> None:
        """Look at it again and again."""
        while True:
            await self._see()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        self._is_closed = True
        await self._wire.close()

    async def find(self, name: ModelName) -> ListedModel:
        """One that came since the last look is found, too."""
        found = self._there.get(name.folded())
        if found is None or self._problem:
            await self._see()
            found = self._there.get(name.folded())
        if found is not None:
            return found
        if self._problem:
            raise UpstreamGone(self._problem, retry_after_s=int(LOOK_S))
        raise ModelNotFound(f"model '{name.display()}' not found", hint=self._others())

    async def list(self) -> Sequence[ListedModel]:
        await self._see()
        if self._problem:
            raise UpstreamGone(self._problem, retry_after_s=int(LOOK_S))
        return list(self._there.values())

    async def detailed(self, model: Model) -> Model:
        return model

    @asynccontextmanager
    async def use(self, model: Model, *, keep_alive_s: float | None) -> AsyncIterator[Lease]:
        if self._is_closed:
            raise _ending()
        if sum(book.num_running for book in self._books.values()) >= self._most_running:
            raise Overloaded(
                "server busy, please try again.  maximum pending requests exceeded",
                retry_after_s=1,
            )
        book = self._books.setdefault(model.name.folded(), Book())
        book.num_running += 1
        try:
            yield Lease(await self._model(model, book), 0)
        except UpstreamFailed:
            if self._is_closed:  # which is what ended it
                raise _ending() from None
            raise
        finally:
            book.num_running -= 1

    async def _model(self, model: Model, book: Book) -> LoadedModel:
        key = model.name.folded()
        if (opened := self._opened.get(key)) is not None:
            return opened
        async with self._opening:
            while key not in self._opened:
                num_changes = self._num_changes
                listed = await self.find(model.name)
                listed.check()
                opened = await self._open(listed, book)
                # What changed while it was opened is opened anew.
                if self._num_changes == num_changes:
                    self._opened[key] = opened
            return self._opened[key]

    def loaded(self) -> Sequence[LoadedEntry]:
        """Those that were used here."""
        return [
            LoadedEntry(
                key=key,
                info=model.info,
                memory_bytes=model.info.memory_bytes,
                expires_at=datetime.now(UTC) + FOREVER,
                stats=self._books.get(key, Book()).stats,
                num_restarts=0,
                pid=None,
            )
            for key, model in self._opened.items()
            if key in self._there and not self._problem
        ]

    async def unload(self, model: Model) -> None:
        """Know no more of it; the other server decides what it keeps."""
        self._opened.pop(model.name.folded(), None)

    def state(self, model: Model | None = None) -> State:
        if self._problem:
            return State.FAILED if self._has_answered else State.LOADING
        is_there = model is None or model.name.folded() in self._there
        return State.READY if is_there else State.FAILED

    def progress(self, model: Model) -> float:
        return float(self.state(model) is State.READY)

    def problem(self, model: Model | None = None) -> str:
        if self._problem or model is None or self.state(model) is State.READY:
            return self._problem
        return f"{self._engine} has no model {model.name.display()} any more"

    def requantized(self, model: Model) -> str:
        return ""

    def counts(self) -> Sequence[ModelCounts]:
        return [
            ModelCounts(
                key=key,
                is_loaded=not self._problem and key in self._there,
                memory_bytes=0,
                stats=book.stats,
                num_loads=0,
                num_failed_loads=0,
                load_ns=0,
                num_restarts=0,
                num_crashes=0,
                num_hung=0,
                num_crashed_requests=0,
                num_evictions=0,
            )
            for key, book in self._books.items()
        ]

    async def metrics(self) -> bytes:
        name, help_text = PREFIX + UPSTREAM_UP[0], UPSTREAM_UP[1]
        up = int(not self._problem)
        return f"# HELP {name} {help_text}\n# TYPE {name} gauge\n{name} {up}\n".encode()

    async def _see(self) -> None:
        """Look at it now; who comes meanwhile waits for the same look."""
        if self._looking.locked():
            async with self._looking:
                return
        async with self._looking:
            try:
                models = await self._look_in_time()
            except UpstreamSilent as error:
                # One that computes may be slow to say that it is well.
                self._num_silences += 1
                if self._num_silences >= _MOST_SILENCES or not self._has_answered:
                    self._lost(error.message)
            except ServerError as error:
                self._lost(error.message)
            except Exception:  # noqa: BLE001 - an edge: this looks for as long as we run
                # What it says is hostile; whatever comes of that, it is looked at again.
                _log.exception("looking at %s failed", self._engine)
                self._lost(f"{self._engine} answered what cannot be read")
            else:
                self._found(models)

    async def _look_in_time(self) -> Sequence[ListedModel]:
        try:
            async with asyncio.timeout(_LOOK_IN_ALL_S):
                return await self._look()
        except TimeoutError:
            raise UpstreamSilent(
                f"{self._engine} did not answer within {_LOOK_IN_ALL_S:g} s"
            ) from None

    def _lost(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem
        # It may come back with other models under the same names.
        self._opened.clear()
        self._num_changes += 1

    def _found(self, models: Sequence[ListedModel]) -> None:
        if self._problem:
            _log.info("%s answers", self._engine)
        self._problem, self._has_answered, self._num_silences = "", True, 0
        there: dict[ModelName, ListedModel] = {}
        for model in models:
            twin = there.get(model.name.folded())
            there[model.name.folded()] = self._ambiguous(model, twin) if twin else model
        for key, model in self._there.items():
            if there.get(key) != model:
                self._opened.pop(key, None)
                self._num_changes += 1
        self._there = there

    def _ambiguous(self, model: ListedModel, twin: ListedModel) -> ListedModel:
        """Neither of two models that have one name here can be meant."""
        names = f"{twin.upstream_name} and {model.upstream_name}"
        problem = f"{self._engine} has two models of that name, {names}"
        return msgspec.structs.replace(model, problem=problem, capabilities=())

    def _others(self) -> str:
        names = ", ".join(model.upstream_name for model in list(self._there.values())[:10])
        return f"{self._engine} has {names or 'no models'}"


def _ending() -> Overloaded:
    return Overloaded("the server is shutting down", retry_after_s=1)
