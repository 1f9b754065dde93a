"""Who says how long a loaded model stays: whoever has it to themselves."""

import time
from collections.abc import Callable
from typing import Final

from server.caller import Caller
from server.keys import Scope
from server.models.model import ModelKey

# Who has used a model so lately may count on it; as long as an idle model stays by default.
IN_USE_S: Final = 300.0


class Lifetimes:
    """The last uses of each model, by the name of a key."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._kept: set[ModelKey] = set()
        self._used_s: dict[ModelKey, dict[str, float]] = {}

    def keep(self, key: ModelKey) -> None:
        """The server has loaded this model of its own accord."""
        self._kept.add(key)

    def used(self, key: ModelKey, caller: Caller) -> None:
        """A key asks this model for something."""
        oldest_s = self._clock_s() - IN_USE_S
        others = self._used_s.get(key, {}).items()
        lately = {name: used_s for name, used_s in others if used_s >= oldest_s}
        self._used_s[key] = lately | {caller.name: self._clock_s()}

    def may_set(self, key: ModelKey, caller: Caller) -> bool:
        """Whether this caller says how long the model stays, and may end it: administrators,
        and anybody else unless the server keeps it or another key has used it lately."""
        if caller.scope.allows(Scope.ADMIN):
            return True
        oldest_s = self._clock_s() - IN_USE_S
        uses = self._used_s.get(key, {})
        return key not in self._kept and not any(
            used_s >= oldest_s for name, used_s in uses.items() if name != caller.name
        )
