"""Lets requests in and keeps the books: limits before, usage after, the same for all
dialects. The core holds one `with` block around each piece of work.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from server import quota
from server.caller import Caller, Ticket
from server.errors import RateLimited
from server.models.name import ModelName
from server.quota import Quota
from server.usage import Counts, Usage


class Gate:
    """The one admission of a server; belongs to its event loop."""

    def __init__(self, usage: Usage, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage
        self._clock = clock
        self._quotas: defaultdict[str, Quota] = defaultdict(Quota)

    @contextmanager
    def begin(self, caller: Caller, model: ModelName, tokens: int) -> Iterator[Ticket]:
        """See `server.caller.Admission`. One that is refused counts nowhere."""
        of_key, limits, now = self._quotas[caller.name], caller.limits, self._clock()
        if refusal := of_key.refusal(limits, tokens, now):
            raise RateLimited(
                refusal.reason,
                retry_after_s=math.ceil(refusal.wait_s),
                headers=quota.headers(of_key.standings(limits, now)),
            )
        amount = of_key.begin(limits, tokens, now)
        ticket = _Ticket(quota.headers(of_key.standings(limits, now)), self._clock)
        has_failed = True
        try:
            yield ticket
            has_failed = False
        except (GeneratorExit, asyncio.CancelledError):  # the client left
            has_failed = False
            raise
        finally:
            of_key.end(amount, ticket.num_tokens, self._clock())
            counts = ticket.counts(has_failed=has_failed)
            self._usage.add(caller.name, model.display(), counts)


class _Ticket:
    """What one request used so far."""

    def __init__(self, headers: Mapping[str, str], clock: Callable[[], float]) -> None:
        self.headers = headers
        self._clock = clock
        self._begun: float | None = None
        self._computed_s: float | None = None
        self._prompt_tokens = 0
        self._output_tokens = 0

    @property
    def num_tokens(self) -> int:
        return self._prompt_tokens + self._output_tokens

    def settle(self, prompt_tokens: int, output_tokens: int) -> None:
        if self._begun is None:
            self._begun = self._clock()
        self._prompt_tokens, self._output_tokens = prompt_tokens, output_tokens

    def computed(self, seconds: float) -> None:
        self._computed_s = seconds

    def counts(self, *, has_failed: bool) -> Counts:
        return Counts(
            requests=1,
            failed=int(has_failed),
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            seconds=self._seconds(),
        )

    def _seconds(self) -> float:
        if self._computed_s is not None:
            return self._computed_s
        return 0.0 if self._begun is None else self._clock() - self._begun
