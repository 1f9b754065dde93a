"""What happens before a server is ready: an empty store gets the embedded model, what is to
be preloaded and not there is pulled, and each preloaded model is loaded and answers a request
of one token.

All of it runs beside the HTTP server, so that liveness answers at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

import msgspec

from server.api.core import Core
from server.api.events import Events
from server.api.options import Options
from server.api.requests import CompletionRequest, EmbedRequest, Generation
from server.caller import SERVER
from server.engine.supervisor import State
from server.errors import ModelNotFound, ServerError, UpstreamGone
from server.fetching import Fetching
from server.models.library import ModelSource
from server.models.model import Model
from server.models.patience import Patience

_log = logging.getLogger("akash_llm.preload")
_PROBE = "Hello"
_LOOK_EVERY_S = 0.2
# Between tries of what may come without anything being done here.
_PATIENCE = Patience(first_wait_s=0.5, longest_wait_s=30.0)

READY, PULLING, LOADING, FAILED = "ready", "pulling", "loading", "failed"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is ready, pulling, loading, failed, or draining before the server ends; `models`
    says it of each preloaded model, and `percent` how much of the weights is there of those
    that come or load. `reason` is why models failed, or have to be pulled again."""

    status: str
    models: dict[str, str] = {}
    percent: dict[str, int] = {}
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        return self.status == READY

    def in_short(self) -> "Readiness":
        """The same for who may not know which models there are."""
        return Readiness(self.status)


class Preloader:
    """Prepares a server; `prepare` runs in a task of its own."""

    def __init__(
        self,
        core: Core,
        names: Sequence[str],
        *,
        stock: Callable[[], Awaitable[object]] | None,
        puller: ModelSource | None,
        keep_alive_s: float,
        may_recover: bool = False,
    ) -> None:
        """`stock` puts the embedded model into the store; None if the store has models.
        `puller` gets what is not there; None leaves that as a failure.
        `keep_alive_s` is how long a preloaded model stays when it is idle. What fails is tried
        again, later each time, if it `may_recover`."""
        self._core = core
        self._names = tuple(names)
        self._stock = stock
        self._puller = puller
        self._keep_alive_s = keep_alive_s
        self._may_recover = may_recover
        self._fetching: dict[str, Fetching] = {}
        self._found: dict[str, Model] = {}
        self._answered: dict[str, Model] = {}
        self._errors: dict[str, ServerError] = {}
        self._is_stocked = stock is None

    async def prepare(self) -> Readiness:
        """Do all of it and say how it went. Failures are logged, never raised."""
        if self._stock is not None:
            await self._fill(self._stock)
            self._is_stocked = True
        await asyncio.gather(*map(self._get_ready, self._names))
        while self._core.state() is not State.READY:
            await asyncio.sleep(_LOOK_EVERY_S)
        return self.readiness()

    def readiness(self) -> Readiness:
        """How it stands now. A model that a client unloaded counts as ready."""
        models = {name: self._state(name) for name in self._names}
        states = {*models.values(), _AFTERWARDS[self._core.state()]}
        states |= set() if self._is_stocked else {LOADING}
        status = next((state for state in (FAILED, PULLING, LOADING) if state in states), READY)
        reasons = {name: self._reason(name, state) for name, state in models.items()}
        told = [f"{name}: {text}" for name, text in reasons.items() if text]
        reason = "; ".join(told) or self._core.problem()
        coming = [name for name, state in models.items() if state in (PULLING, LOADING)]
        percent = {name: self._percent(name) for name in coming}
        return Readiness(status, models, percent, reason)

    async def _fill(self, stock: Callable[[], Awaitable[object]]) -> None:
        _log.info("the store is empty: taking the embedded model")
        try:
            await stock()
        except ServerError as error:
            _log.warning("no embedded model: %s (%s)", error.message, error.hint)

    async def _get_ready(self, name: str) -> None:
        failures = 0
        while not await self._try(name) and self._may_recover:
            failures += 1
            await asyncio.sleep(_PATIENCE.wait_s(failures, retry_after_s=0))

    async def _try(self, name: str) -> bool:
        """Whether the model is there and answers."""
        try:
            model = self._found[name] = await self._there(name)
            await self._probe(model)
        except ServerError as error:
            if error.message != self._said(name):
                hint = f" ({error.hint})" if error.hint else ""
                _log.error("preloading %s failed: %s%s", name, error.message, hint)
            self._errors[name] = error
            return False
        self._errors.pop(name, None)
        self._answered[name] = model
        return True

    def _said(self, name: str) -> str:
        """What was wrong when it was tried last."""
        error = self._errors.get(name)
        return error.message if error else ""

    async def _there(self, name: str) -> Model:
        """The model, pulled first if it may be and has to."""
        if self._puller is None:
            return await self._core.find(name, SERVER)
        stored = self._puller.name_of(name).display()
        with suppress(ModelNotFound):
            model = await self._core.find(stored, SERVER)
            if model.problem is None:
                return model
        fetching = self._fetching[name] = Fetching(self._puller, name)
        await fetching.run()
        del self._fetching[name]
        return await self._core.find(stored, SERVER)

    async def _probe(self, model: Model) -> None:
        options = Options(num_predict=1)
        generation = Generation(caller=SERVER, options=options, keep_alive_s=self._keep_alive_s)
        async with aclosing(self._ask(model, generation)) as events:
            async for _ in events:
                pass

    def _ask(self, model: Model, generation: Generation) -> Events:
        """The smallest thing that the model can do."""
        if "completion" in model.capabilities:
            request = CompletionRequest(model=model, prompt=_PROBE, generation=generation)
            return self._core.run(request)
        return self._core.run_embed(
            EmbedRequest(model=model, inputs=(_PROBE,), generation=generation)
        )

    def _reason(self, name: str, state: str) -> str:
        if state == PULLING:
            return self._fetching[name].problem
        if name in self._errors:
            return self._said(name)
        return self._core.problem(self._answered[name]) if state == FAILED else ""

    def _percent(self, name: str) -> int:
        if name in self._fetching:
            return self._fetching[name].percent
        found = self._found.get(name)
        return int(100 * self._core.progress(found)) if found else 0

    def _state(self, name: str) -> str:
        if name in self._errors:
            return LOADING if isinstance(self._errors[name], UpstreamGone) else FAILED
        if name in self._fetching:
            return PULLING
        if name not in self._answered:
            return LOADING
        return _AFTERWARDS[self._core.state(self._answered[name])]


_AFTERWARDS = {
    State.READY: READY,
    State.ABSENT: READY,
    State.LOADING: LOADING,
    State.FAILED: FAILED,
}
