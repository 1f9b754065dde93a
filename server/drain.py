"""How a server ends: it takes nothing new, lets what runs end by itself, and after a while
ends the rest.

Told once, it drains; told again, it goes at once.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from server.traffic import Traffic


class Drain:
    """The state of that. Lives in one event loop; `begin` and `cut_short` may be called twice."""

    def __init__(self, traffic: Traffic, limit_s: float) -> None:
        """`limit_s` is how long running requests may go on."""
        self.traffic = traffic
        self._limit_s = limit_s
        self._begun = asyncio.Event()
        self._may_end = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Take nothing new from now on."""
        self.traffic.is_draining = True
        self._begun.set()
        self._look()

    def cut_short(self) -> None:
        """Wait for nobody any more."""
        self.begin()
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

    async def over(self) -> None:
        """Returns once it has begun, and all requests have ended or their time is up."""
        await self._begun.wait()
        try:
            async with asyncio.timeout(self._limit_s):
                await self._may_end.wait()
        except TimeoutError:
            return

    def _look(self) -> None:
        if self.is_on and not self.traffic.num_in_flight:
            self._may_end.set()
