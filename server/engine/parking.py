"""Idle conversations in host memory: what a slot had computed, copied out before it is lost.

Bringing the keys and values of a thousand tokens back takes milliseconds, computing them
again seconds.
"""

from collections.abc import Sequence as Tokens
from collections.abc import Sized
from dataclasses import dataclass

from server.engine.prefix import common_prefix


@dataclass(frozen=True, slots=True, eq=False)
class Parked:
    """The state of a sequence whose cells held `tokens`, in the backend's own form."""

    tokens: list[int]
    state: Sized


class Parking:
    """Parked prefixes, the least recently parked out first when `limit_bytes` is reached."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parked: list[Parked] = []
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def is_open(self) -> bool:
        """Whether anything may be parked at all."""
        return self._limit_bytes > 0

    def add(self, parked: Parked) -> bool:
        """Keep a state, and only the longest of those that go on from each other.
        False if it is larger than the limit."""
        if len(parked.state) > self._limit_bytes:
            return False
        for other in [p for p in self._parked if _is_beginning(p.tokens, parked.tokens)]:
            self.remove(other)
        self._parked.append(parked)
        self.num_bytes += len(parked.state)
        while self.num_bytes > self._limit_bytes:
            self.remove(self._parked[0])
        return True

    def remove(self, parked: Parked) -> None:
        """Let go of a state."""
        self._parked.remove(parked)
        self.num_bytes -= len(parked.state)

    def longest(self, tokens: Tokens[int], most: int) -> tuple[Parked | None, int]:
        """The state with the longest common prefix, at most `most` tokens, and its length."""
        found = ((p, common_prefix(p.tokens, tokens, most)) for p in self._parked)
        return max(found, key=lambda pair: pair[1], default=(None, 0))

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        if self.num_bytes != sum(len(p.state) for p in self._parked):
            raise AssertionError("parked bytes and their sum disagree")
        if self.num_bytes > self._limit_bytes:
            raise AssertionError(f"{self.num_bytes} bytes parked of {self._limit_bytes}")


def _is_beginning(a: Tokens[int], b: Tokens[int]) -> bool:
    return len(a) <= len(b) and common_prefix(a, b, len(a)) == len(a)
