"""Log files of processes: their last lines, and following them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

TAIL_BYTES = 256 * 1024
POLL_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file, as far as they lie in its last 256 KiB."""
    lines, _ = _tail(path, count)
    return lines


async def follow(path: Path, *, tail: int, goes_on: Callable[[], bool]) -> AsyncIterator[str]:
    """The last `tail` lines, then new ones while `goes_on`, to the last that was written."""
    lines, offset = _tail(path, tail)
    for line in lines:
        yield line
    rest = b""
    while True:
        is_live = goes_on()  # asked first: what was written before the end is still read
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        offset += len(data)
        *whole, rest = (rest + data).split(b"\n")
        for raw in whole:
            yield raw.decode("utf-8", "replace")
        if not is_live:
            break
        await asyncio.sleep(POLL_S)
    if rest:
        yield rest.decode("utf-8", "replace")


def _tail(path: Path, count: int) -> tuple[list[str], int]:
    """Complete lines at the end, and the offset behind the last newline."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            data = file.read(end - start)
    except FileNotFoundError:
        return [], 0
    body, _, partial = data.rpartition(b"\n")
    lines = body.decode("utf-8", "replace").split("\n") if body else []
    if start and lines:
        del lines[0]  # begins in the middle of a line
    return (lines[-count:] if count > 0 else []), end - len(partial)
