"""Which of the lines that a gateway sends again were told before.

The log socket knows no cursor and no times. A new connection can only ask for the last
lines of each pod, so they overlap with what was told: the last lines told are compared
with what comes again, and what stands behind them is new.

No line is lost while fewer than `RESEND` lines of a pod come between two connections.
Where the overlap cannot be told (a pod that only repeats itself, a container that was
started again) lines may be told twice; they are never left out. After more lines than
that, `GAP` stands for what may be missing.
"""

import hashlib
from collections import deque
from collections.abc import Sequence

RESEND = 1000
"""How many lines of each pod are remembered, and asked for again."""

GAP = "[lines may be missing here]"
"""Told in the place of lines that may have come and gone between two connections."""


def known(told: Sequence[bytes], again: Sequence[bytes]) -> int:
    """How many of the first lines of `again` are not new.

    `told` is the last that was told of a pod. Either `again` begins further back and holds
    all of it (the first place counts, so that nothing is lost), or begins within it.
    """
    told, again = list(told), list(again)
    for start in range(len(again) - len(told) + 1):
        if again[start : start + len(told)] == told:
            return start + len(told)
    for length in range(min(len(told), len(again)), 0, -1):
        if told[-length:] == again[:length]:
            return length
    return 0


class PodTail:
    """The last lines of one pod. After `begin_again`, lines are held back until it is known
    which of them are new."""

    def __init__(self) -> None:
        self._told: deque[bytes] = deque(maxlen=RESEND)
        self._again: list[str] = []
        self._digests: list[bytes] = []
        self._most = 0
        self.is_holding = False
        self.held_chars = 0

    def begin_again(self, most: int) -> None:
        """A new connection sends up to `most` lines again. What an earlier one had not
        settled is dropped: this one sends it too."""
        self._release()
        self._most = most
        self.is_holding = bool(self._told)

    def take(self, line: str) -> list[str]:
        """The lines that are new by this one."""
        if not self.is_holding:
            self._told.append(_digest(line))
            return [line]
        self._again.append(line)
        self._digests.append(_digest(line))
        self.held_chars += len(line)
        if self._is_all_there() or self._is_full():
            return self.settle()
        return []

    def settle(self) -> list[str]:
        """The new lines among those held back: nothing more is sent again."""
        count = known(self._told, self._digests)
        new = self._again[count:]
        if self._is_full() and not count:
            new.insert(0, GAP)
        self._told.extend(self._digests[count:])
        self._release()
        return new

    def _release(self) -> None:
        self._again, self._digests = [], []
        self.is_holding, self.held_chars = False, 0

    def _is_full(self) -> bool:
        return self.is_holding and len(self._again) >= self._most

    def _is_all_there(self) -> bool:
        """Whether what was told has just come again to its end."""
        count = len(self._told)
        if self._digests[-1] != self._told[-1] or len(self._digests) < count:
            return False
        return self._digests[-count:] == list(self._told)


def _digest(line: str) -> bytes:
    return hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=12).digest()
