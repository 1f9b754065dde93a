"""A model that is to be preloaded and is not there: pulled until it is.

A server in a container comes up without weights. It must not end because a registry is slow
or away for a while: who watches it counts that as a crash.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from server.errors import Forbidden, InvalidRequest, NotFound, ServerError
from server.models.library import ModelSource
from server.models.patience import Patience
from server.models.pull import Progress

_log = logging.getLogger("akash_llm.fetching")

# Between pulls, each of which has tried several times.
PATIENCE: Final = Patience(first_wait_s=5.0, longest_wait_s=60.0)


class Fetching:
    """The way of one model into the store. `problem` is why it had to be tried again."""

    def __init__(self, puller: ModelSource, source: str, *, patience: Patience = PATIENCE) -> None:
        self.problem = ""
        self._puller = puller
        self._source = source
        self._patience = patience
        self._failures = 0
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def percent(self) -> int:
        """How much is there of what is known to come."""
        total = sum(size for _, size in self._layers.values())
        return 100 * sum(there for there, _ in self._layers.values()) // total if total else 0

    async def run(self) -> None:
        """Pull until it works. Raises `InvalidRequest`, `Forbidden` or `NotFound` when trying
        again would change nothing."""
        while True:
            try:
                await self._pull()
            except (InvalidRequest, Forbidden, NotFound):
                raise
            except ServerError as error:
                await self._wait(error)
            else:
                self.problem = ""
                return

    async def _pull(self) -> None:
        async with aclosing(self._puller.pull(self._source)) as steps:
            async for step in steps:
                self._see(step)

    def _see(self, step: Progress) -> None:
        if step.digest:
            self._layers[step.digest] = (step.completed, step.total)

    async def _wait(self, error: ServerError) -> None:
        self._failures += 1
        pause_s = self._patience.wait_s(self._failures, retry_after_s=0)
        self.problem = f"{error.message}; tried again in {pause_s:g} s"
        _log.warning("pulling %s failed: %s", self._source, self.problem)
        await asyncio.sleep(pause_s)
