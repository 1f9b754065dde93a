"""What passes through a server, counted where it happens: requests at the edge, tokens on
their way to a client. `server.traffic_metrics` says what of it is told.

Nothing here grows without bound: so many models and key names have a label of their own,
all others share one.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.body_memory import BodyMemory
from server.histogram import Histogram

# No key, model or method has that name, so that nobody is shown it as its own.
OTHER = "(other)"
MOST_KEYS = 100
MOST_MODELS = 100
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

FIRST_TOKEN_BOUNDS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
GAP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 10)
DURATION_BOUNDS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Labels:
    """The first `most` values as they are, `other` for all that come later."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """The label for a value."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


@dataclass(frozen=True, slots=True)
class Completion:
    """One generation or embedding that has ended. `end` as in `server.exchange`."""

    model: str
    key: str
    end: str
    prompt_tokens: int
    output_tokens: int
    truncated_tokens: int
    duration_s: float


class Traffic:
    """The counters of one server. `now_s` is a monotonic clock."""

    def __init__(self, bodies: BodyMemory, now_s: Callable[[], float] = time.monotonic) -> None:
        self.bodies = bodies
        self.now_s = now_s
        self.num_connections = 0
        self.num_in_flight = 0
        self.is_draining = False
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self.completions: Counter[tuple[str, str, str]] = Counter()
        self.prompt_tokens: Counter[tuple[str, str]] = Counter()
        self.output_tokens: Counter[tuple[str, str]] = Counter()
        self.truncated_requests: Counter[str] = Counter()
        self.truncated_tokens: Counter[str] = Counter()
        self.first_token_s = _by_model(FIRST_TOKEN_BOUNDS_S)
        self.gap_s = _by_model(GAP_BOUNDS_S)
        self.duration_s = _by_model(DURATION_BOUNDS_S)
        self.last_used_s: dict[tuple[str, str], float] = {}
        self._models = Labels(MOST_MODELS)
        self._keys = Labels(MOST_KEYS)

    def refuse(self, reason: str) -> None:
        """Something was refused or cut off; `reason` is one of a few words."""
        self.refused[reason] += 1

    def answered(self, method: str, route: str, status: int) -> None:
        """A request has ended. `route` is a template, not a path."""
        known = method if method in _METHODS else OTHER
        self.requests[known, route or OTHER, str(status)] += 1

    def labels(self, model: str, key: str) -> tuple[str, str]:
        """The labels of a model and of a key's name."""
        return self._models.of(model), self._keys.of(key)

    def used(self, model: str, key: str) -> None:
        """Somebody asks for this; both are labels."""
        self.last_used_s[model, key] = self.now_s()

    def completed(self, one: Completion) -> None:
        """A completion has ended; its model and key are labels."""
        self.completions[one.model, one.key, one.end] += 1
        self.prompt_tokens[one.model, one.key] += one.prompt_tokens
        self.output_tokens[one.model, one.key] += one.output_tokens
        self.truncated_requests[one.model] += one.truncated_tokens > 0
        self.truncated_tokens[one.model] += one.truncated_tokens
        self.duration_s[one.model].observe(one.duration_s)


def _by_model(bounds: tuple[float, ...]) -> defaultdict[str, Histogram]:
    return defaultdict(partial(Histogram, bounds))
