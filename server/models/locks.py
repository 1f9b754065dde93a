"""Locks between processes that end with the process that holds them."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_POLL_S = 0.1


@asynccontextmanager
async def shared(path: Path) -> AsyncIterator[None]:
    """Hold a lock together with others; waits while somebody has it alone.

    The folder must exist. Raises `OSError`.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not _taken(handle, fcntl.LOCK_SH):
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a lock alone, if nobody has it; whether it is held. The folder must exist."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield _taken(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def own(handle: int, path: Path) -> bool:
    """Lock an open file of this path alone; False if somebody has it, or it is there no more."""
    if not _taken(handle, fcntl.LOCK_EX):
        return False
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
