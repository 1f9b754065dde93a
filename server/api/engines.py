"""The seam between the core and what runs the models: this machine, or another server.

`server.local` is the engine of this machine; those over other servers are in
`server.upstream`. The core does not know which one it has.
"""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.api.events import Said
from server.api.options import Resolved
from server.api.prompt import Window
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest
from server.engine.entry import Lease, LoadedEntry, State
from server.engine.tally import ModelCounts
from server.engine.types import Embeddings, Finish, LoadedModel
from server.models.library import Library, ModelSource
from server.models.model import Model
from server.models.name import ModelName


class Engine(Protocol):
    """The models that there are, and what runs them.

    `stock` fills it before anything else is done, `puller` gets what is to be preloaded and
    is not there; None if neither is wanted. One that `may_recover` is asked again when a model
    cannot be prepared: what failed is not here.
    """

    @property
    def may_recover(self) -> bool: ...

    @property
    def library(self) -> Library:
        """Gets, makes and removes models."""

    @property
    def puller(self) -> ModelSource | None: ...

    @property
    def stock(self) -> Callable[[], Awaitable[object]] | None: ...

    def begin(self) -> None:
        """Begin what can be begun before the web framework is there. Needs an event loop."""

    async def work(self) -> None:
        """What is done beside requests; it ends by itself or is cancelled."""

    async def close(self) -> None:
        """End every model. Requests in them fail. May be called twice."""

    async def find(self, name: ModelName) -> Model:
        """The model of that name. Raises `ModelNotFound`, `UpstreamFailed`."""

    async def list(self) -> Sequence[Model]:
        """Every model, newest first. Raises `UpstreamFailed`."""

    async def detailed(self, model: Model) -> Model:
        """The same with all that a verbose `/api/show` tells. Raises `UpstreamFailed`."""

    def use(
        self, model: Model, *, keep_alive_s: float | None
    ) -> AbstractAsyncContextManager[Lease]:
        """The model, loaded, for as long as the context is open. `keep_alive_s` as in
        `server.engine.supervisor`. Raises `ServerError`s."""

    def loaded(self) -> Sequence[LoadedEntry]:
        """Every model in memory, the one that stays longest first."""

    async def unload(self, model: Model) -> None:
        """End a model once nobody uses it; nothing if it is not loaded."""

    def state(self, model: Model | None = None) -> State:
        """What is done with a model now, or without one how the engine as a whole is."""

    def progress(self, model: Model) -> float:
        """The part of a model's weights that is loaded, 0 to 1."""

    def problem(self, model: Model | None = None) -> str:
        """Why a model has failed, or without one the engine as a whole; empty if it has not."""

    def requantized(self, model: Model) -> str:
        """The type that a model's weights are computed in; empty if it is the file's."""

    def counts(self) -> Sequence[ModelCounts]:
        """What every model that was ever asked for has done, for metrics."""

    @property
    def memory_budget_bytes(self) -> int | None:
        """What models may take together; None if nothing here bounds it."""

    async def metrics(self) -> bytes:
        """What the engine itself tells Prometheus, in its text format, beside `counts`."""


class Talker(LoadedModel):
    """A loaded model whose engine makes prompts itself, of some requests or of all: it takes
    them whole, and what it answers is read already. Its window is what it is, whatever a request
    or a key says.

    A class to inherit from, since every request asks whether its model is one: to look for the
    methods takes twenty times as long."""

    @abstractmethod
    async def load(self) -> None:
        """Have it in memory. Raises `ServerError`s."""

    @abstractmethod
    def takes(self, request: ChatRequest | CompletionRequest | EmbedRequest) -> bool:
        """Whether it wants this request whole. All others get tokens, as everywhere."""

    @abstractmethod
    def talk(
        self, request: ChatRequest | CompletionRequest, options: Resolved, window: Window
    ) -> AsyncGenerator[Said | Finish]:
        """The reply, then exactly one `Finish`. Closing the iterator cancels the request.
        Raises `ServerError`s, before or between events."""

    @abstractmethod
    async def render(self, request: ChatRequest | CompletionRequest) -> str:
        """The text of its prompt. Raises `ServerError`s."""

    @abstractmethod
    async def count(self, request: ChatRequest | CompletionRequest) -> int:
        """How many tokens its prompt has. Raises `ServerError`s."""

    @abstractmethod
    async def embed_texts(self, request: EmbedRequest) -> Embeddings:
        """The vectors of all inputs. Raises `ServerError`s."""
