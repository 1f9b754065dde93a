"""Idle conversations in host memory: what a slot had computed, copied out before it is lost.

Bringing the keys and values of a thousand tokens back takes milliseconds, computing them
again seconds.
"""

from collections.abc import Iterator, Sized
from collections.abc import Sequence as Tokens
from dataclasses import dataclass

from server.engine.prefix import Known, common_prefix, longest_prefix


@dataclass(frozen=True, slots=True, eq=False)
class Parked:
    """The state of a sequence whose cells held `tokens`, in the backend's own form; `holder`
    as in `server.engine.slots`."""

    tokens: Tokens[int]
    state: Sized
    holder: str = ""

    def begins_with(self, tokens: Tokens[int]) -> bool:
        """Whether these tokens are the first of it."""
        return common_prefix(self.tokens, tokens, len(tokens)) == len(tokens)


class Parking:
    """Parked prefixes, the least recently parked out first when `limit_bytes` is reached."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parked: list[Parked] = []
        self.num_bytes = 0

    @property
    def num_parked(self) -> int:
        """How many states are here."""
        return len(self._parked)

    @property
    def is_open(self) -> bool:
        """Whether anything may be parked at all."""
        return self._limit_bytes > 0

    def add(self, parked: Parked) -> bool:
        """Keep a state, and only the longest of those that go on from each other.
        False if it is not kept."""
        if len(parked.state) > self._limit_bytes or self.holds(parked.tokens, parked.holder):
            return False
        for other in [p for p in self._of(parked.holder) if parked.begins_with(p.tokens)]:
            self.take(other)
        self._parked.append(parked)
        self.num_bytes += len(parked.state)
        while self.num_bytes > self._limit_bytes:
            self.take(self._parked[0])
        return True

    def take(self, parked: Parked) -> None:
        """Let go of a state that is here."""
        self._parked.remove(parked)
        self.num_bytes -= len(parked.state)

    def holds(self, tokens: Tokens[int], holder: str = "") -> bool:
        """Whether a state of this holder goes on from just these tokens."""
        return any(p.begins_with(tokens) for p in self._of(holder))

    def longest(
        self, tokens: Tokens[int], most: int, holder: str = "", *, whole: bool = False
    ) -> tuple[Parked | None, int]:
        """The state with the longest common prefix, at most `most` tokens, and its length.
        Among equals the shortest, which loses least when it is cut. `whole`: none is cut."""
        shortest_first = sorted(self._of(holder), key=lambda p: len(p.tokens))
        known = (Known(p, p.tokens, len(p.tokens)) for p in shortest_first)
        return longest_prefix(tokens, most, known, whole=whole)

    def _of(self, holder: str) -> Iterator[Parked]:
        return (p for p in self._parked if p.holder == holder)

    def check_integrity(self) -> None:
        """Raise AssertionError if the books contradict each other."""
        if self.num_bytes != sum(len(p.state) for p in self._parked):
            raise AssertionError("parked bytes and their sum disagree")
        if self.num_bytes > self._limit_bytes:
            raise AssertionError(f"{self.num_bytes} bytes parked of {self._limit_bytes}")
