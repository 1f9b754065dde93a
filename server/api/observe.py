"""Watches replies of all dialects on their way out, in one place: around the core.

An `ObservedCore` is a `Core` whose events are counted in `Traffic` and told to the log
of their request. That costs half a microsecond a token (measured).
"""

import asyncio
from contextlib import aclosing

from server import exchange
from server.admission import Gate
from server.api.core import Core
from server.api.engines import Engine
from server.api.events import Counted, Done, Embedded, Event, Events, Started
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest
from server.chat.renderer import Renderer
from server.engine.types import FinishReason
from server.errors import ServerError
from server.exchange import Exchange
from server.models.model import Model
from server.traffic import Completion, Traffic

CANCELLED = "cancelled"
STOP = "stop"
LENGTH = "length"
INTERNAL = ServerError.code


class ObservedCore(Core):
    """A core whose replies are watched. What is asked for outside of a request is not."""

    def __init__(
        self,
        models: Engine,
        renderer: Renderer,
        gate: Gate,
        traffic: Traffic,
    ) -> None:
        super().__init__(models, renderer, gate)
        self._traffic = traffic

    def run_chat(self, request: ChatRequest) -> Events:
        return self._observed(super().run_chat(request), request.model)

    def run_completion(self, request: CompletionRequest) -> Events:
        return self._observed(super().run_completion(request), request.model)

    def run_embed(self, request: EmbedRequest) -> Events:
        return self._observed(super().run_embed(request), request.model)

    def _observed(self, events: Events, model: Model) -> Events:
        served = exchange.current()
        if served is None:
            return events
        return observed(events, Observation(self._traffic, served, model.name.display()))


async def observed(events: Events, observation: "Observation") -> Events:
    """The same events, watched. Closing this closes them."""
    async with aclosing(events):
        try:
            async for event in events:
                observation.saw(event)
                yield event
        except (GeneratorExit, asyncio.CancelledError):
            observation.end = observation.end or CANCELLED
            raise
        except ServerError as error:
            observation.end = error.code
            raise
        finally:
            observation.close()


class Observation:
    """One completion as it is seen from outside."""

    def __init__(self, traffic: Traffic, served: Exchange, model: str) -> None:
        self.end = ""
        self._traffic = traffic
        self._served = served
        self._model, self._key = traffic.labels(model, served.key)
        self._gaps = traffic.gap_s[self._model]
        self._now_s = traffic.now_s
        self._last_s = 0.0
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._truncated_tokens = 0
        served.model = model
        traffic.used(self._model, self._key)

    def saw(self, event: Event) -> None:
        """The next event passes."""
        if isinstance(event, Started):
            self._prompt_tokens = event.prompt_tokens or 0
            self._truncated_tokens = event.truncated_tokens
        elif isinstance(event, Done | Embedded):
            self._last(event)
        elif isinstance(event, Counted):
            self._prompt_tokens = event.prompt_tokens
        else:
            self._said()

    def close(self) -> None:
        """No event comes any more: count it all, once."""
        self._served.end = end = self.end or INTERNAL
        self._served.prompt_tokens += self._prompt_tokens
        self._served.output_tokens += self._output_tokens
        self._traffic.completed(
            Completion(
                model=self._model,
                key=self._key,
                end=end,
                prompt_tokens=self._prompt_tokens,
                output_tokens=self._output_tokens,
                truncated_tokens=self._truncated_tokens,
                duration_s=self._now_s() - self._served.begun_s,
            )
        )

    def _said(self) -> None:
        """A piece of the reply passes: mostly one token."""
        now_s = self._now_s()
        if self._last_s:
            self._gaps.observe(now_s - self._last_s)
        else:
            ttft_s = now_s - self._served.begun_s
            self._traffic.first_token_s[self._model].observe(ttft_s)
            self._served.ttft_s = self._served.ttft_s or ttft_s
        self._last_s = now_s
        self._output_tokens += 1

    def _last(self, event: Done | Embedded) -> None:
        self.end = STOP
        self._prompt_tokens = event.prompt_tokens
        if isinstance(event, Done):
            self._output_tokens = event.output_tokens
            self.end = LENGTH if event.reason is FinishReason.LENGTH else STOP
