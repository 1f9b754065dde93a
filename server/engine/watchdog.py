"""Whether a runner still works: it answers, and its step ends some time.

The receiving thread of a runner answers, so that a long step is no silence; what
silences it is a stopped process, or C code that holds the interpreter lock.
"""

import asyncio
import math
from collections.abc import Callable

from server.engine.messages import Pong


class Watchdog:
    """Watches one runner. Counts unanswered questions and not seconds, so that a stall of
    this process, which delays the answers too, ends nobody."""

    def __init__(self, *, ping_s: float, silence_s: float, step_timeout_s: float) -> None:
        self._ping_s = ping_s
        self._most_unanswered = max(1, math.ceil(silence_s / ping_s))
        self._silence_s = silence_s
        self._step_timeout_s = step_timeout_s
        self._unanswered = 0
        self._step_s = 0.0

    def heard(self, pong: Pong) -> None:
        """An answer has come."""
        self._unanswered = 0
        self._step_s = pong.step_ns / 1e9

    async def until_hung(self, ask: Callable[[], bool]) -> str:
        """Wait until the runner hangs and say how.

        `ask` sends a `Ping` if the runner has work, and says whether: one that has none is
        left alone, and noticed when it gets some.
        """
        while True:
            is_asked = ask()
            self._unanswered = self._unanswered + 1 if is_asked else 0
            self._step_s = self._step_s if is_asked else 0.0
            await asyncio.sleep(self._ping_s)
            if self._unanswered >= self._most_unanswered:
                return f"it did not answer for {self._silence_s:g} s"
            if self._step_s > self._step_timeout_s:
                return f"a step took longer than {self._step_timeout_s:g} s"
