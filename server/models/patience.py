"""How long a download waits, and when it tries again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from server.errors import PullFailed

T = TypeVar("T")


class Interrupted(Exception):
    """A request that failed for now; `retry_after_s` is what the server asked for, else 0."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


# Further ones make no difference, and a float has room for a thousand.
_MOST_DOUBLINGS = 64


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for what, in seconds, and how often to try.

    `stall_s`: without a byte for so long a connection counts as dead. `first_wait_s` is the
    pause before the second try; each is twice as long as the one before. Tries are counted
    anew after every `progress_bytes`.
    """

    connect_s: float = 10.0
    stall_s: float = 30.0
    tries: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    progress_bytes: int = 1 << 20

    def limited_to(self, tries: int) -> "Patience":
        """The same with so many tries."""
        return msgspec.structs.replace(self, tries=tries)

    def wait_s(self, failures: int, retry_after_s: float) -> float:
        """The pause after so many failures in a row."""
        doubled = self.first_wait_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        return max(min(doubled, self.longest_wait_s), retry_after_s)


async def persist(
    attempt: Callable[[], Awaitable[T]],
    patience: Patience,
    *,
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """Try until it works; `progress` is how many bytes there are.

    Raises `PullFailed` with the last reason when the tries are used up, and at once
    whatever is not `Interrupted`.
    """
    failures, before = 0, progress()
    while True:
        try:
            return await attempt()
        except Interrupted as error:
            if progress() - before >= patience.progress_bytes:
                failures, before = 0, progress()
            failures += 1
            if failures >= patience.tries:
                raise PullFailed(
                    f"{error} (tried {failures} times)",
                    hint="check the network; a pull that is begun again goes on where it stopped",
                ) from error
            await asyncio.sleep(patience.wait_s(failures, error.retry_after_s))
