"""How much memory the bodies of all requests may take together.

One body has its own limit while it arrives (`--max-body-bytes`); without this one,
several of that size at once would be as many times too much.
"""

from server.errors import Overloaded

_RETRY_AFTER_S = 2


class BodyMemory:
    """The bytes that requests hold now. Not for more than one thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._num_refused = 0

    @property
    def held_bytes(self) -> int:
        """What all reservations hold together."""
        return self._held_bytes

    @property
    def num_refused(self) -> int:
        """How many requests found no room."""
        return self._num_refused

    def take(self, size_bytes: int) -> None:
        """Raise `Overloaded` if there is no room for so much more."""
        if self._held_bytes + size_bytes > self._limit_bytes:
            self._num_refused += 1
            raise Overloaded(
                "server busy: the requests that are being read take all memory for bodies",
                hint="send it again in a moment",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Free what `take` took."""
        self._held_bytes -= size_bytes


class Reservation:
    """What one request holds."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Hold at least so much. Raises `Overloaded`, then it holds what it held."""
        if size_bytes > self._size_bytes:
            self._memory.take(size_bytes - self._size_bytes)
            self._size_bytes = size_bytes

    def release(self) -> None:
        """Hold nothing any more. May be called twice."""
        self._memory.give_back(self._size_bytes)
        self._size_bytes = 0
