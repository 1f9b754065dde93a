"""How a server ends: it takes nothing new, lets what runs end by itself, and after a while
ends the rest.

Told once, it drains; told again, it goes at once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypeVar

from server.errors import Overloaded
from server.traffic import Traffic

T = TypeVar("T")

_RETRY_AFTER_S = 5


def ending(next_step: str = "") -> Overloaded:
    """What is said to whoever comes too late, or is not done in time."""
    return Overloaded("the server is shutting down", hint=next_step, retry_after_s=_RETRY_AFTER_S)


class Drain:
    """The state of that. Lives in one event loop; `begin` and `cut_short` may be called twice."""

    def __init__(self, traffic: Traffic, limit_s: float) -> None:
        """`limit_s` is how long running requests may go on."""
        self.traffic = traffic
        self._limit_s = limit_s
        self._begun = asyncio.Event()
        self._may_end = asyncio.Event()
        self._end_s: float | None = None  # on the clock of the loop, once it has begun
        self._limits: set[asyncio.Timeout] = set()

    @property
    def is_on(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Take nothing new from now on."""
        if not self.is_on:
            self.traffic.is_draining = True
            self._end_within(self._limit_s)
            self._begun.set()
        self._look()

    def cut_short(self) -> None:
        """Wait for nobody any more."""
        self.begin()
        self._end_within(0)
        self._may_end.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """While this lasts, there is a request to wait for."""
        self.traffic.num_in_flight += 1
        try:
            yield
        finally:
            self.traffic.num_in_flight -= 1
            self._look()

    @asynccontextmanager
    async def limit(self, next_step: str) -> AsyncIterator[None]:
        """While this lasts, something is done that no engine ends: cancel it when the time is
        up. Raises `Overloaded` then, with what its client can do."""
        try:
            async with asyncio.timeout_at(self._end_s) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ending(next_step) from None

    async def limited(
        self, steps: AsyncGenerator[T, None], next_step: str
    ) -> AsyncGenerator[T, None]:
        """The same for work in steps, which is closed at its end, whatever that is."""
        async with aclosing(steps):
            while True:
                async with self.limit(next_step):
                    try:
                        step = await anext(steps)
                    except StopAsyncIteration:
                        return
                yield step

    async def over(self) -> None:
        """Returns once it has begun, and all requests have ended or their time is up."""
        await self._begun.wait()
        try:
            async with asyncio.timeout_at(self._end_s):
                await self._may_end.wait()
        except TimeoutError:
            return

    def _end_within(self, limit_s: float) -> None:
        self._end_s = asyncio.get_running_loop().time() + limit_s
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self._end_s)

    def _look(self) -> None:
        if self.is_on and not self.traffic.num_in_flight:
            self._may_end.set()
