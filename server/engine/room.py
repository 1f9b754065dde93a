"""Where loads wait, first come first served, until the memory for them is free."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from server.engine.budget import Budget, Holding, fits_now, victims
from server.errors import Overloaded

T = TypeVar("T")


class NobodyWaits(Exception):
    """A load would have to displace a model, and no request is there that wants it."""


class Room(Generic[T]):
    """The memory of all models. A load that waits holds nothing, so no two can block each
    other; models that are loaded are used past the queue.

    `holdings` says who holds what now; `dismiss` begins to end an idle model.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        timeout_s: float,
        holdings: Callable[[], Sequence[Holding[T]]],
        dismiss: Callable[[T], object],
    ) -> None:
        self.budget = budget
        self._timeout_s = timeout_s
        self._holdings = holdings
        self._dismiss = dismiss
        self._turn = asyncio.Lock()
        self._change = asyncio.Event()

    def changed(self) -> None:
        """A model became idle, ended, or did not load after all."""
        self._change.set()

    async def take(
        self, need_bytes: int, *, is_wanted: Callable[[], bool], reserve: Callable[[], None]
    ) -> None:
        """Wait for `need_bytes` and `reserve` them; idle models are ended for it, the least
        recently used first. Cancelled, it leaves nothing behind.

        Raises `LoadFailed` at once if they can never be had, `Overloaded` if the others stay
        busy, and `NobodyWaits` rather than end a model for one that is not `is_wanted`.
        """
        self.budget.check(need_bytes)
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                while not fits_now(need_bytes, self._holdings(), self.budget):
                    self._change.clear()
                    self._make_way(need_bytes, is_wanted())
                    await self._change.wait()
                reserve()
        except TimeoutError:
            raise Overloaded(
                "server busy, please try again.  the models in memory are all in use, "
                f"and none was idle within {self._timeout_s:g} s",
                retry_after_s=1,
            ) from None

    def settle(self) -> None:
        """End idle models if the loaded ones take more than was expected of them. The only
        one stays: it may be too large, but its next load would be just as large."""
        holdings = self._holdings()
        going, _ = victims(0, 0, holdings, self.budget)
        is_last = len(going) == sum(not each.is_leaving for each in holdings)
        for model in going[:-1] if is_last else going:
            self._dismiss(model)

    def _make_way(self, need_bytes: int, is_wanted: bool) -> None:
        going, is_enough = victims(need_bytes, 1, self._holdings(), self.budget)
        if not is_wanted and (going or not is_enough):
            raise NobodyWaits
        if is_enough:
            for model in going:
                self._dismiss(model)
