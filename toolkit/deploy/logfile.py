"""Log files of processes: their last lines, and following them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path

TAIL_BYTES = 256 * 1024
POLL_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file, as far as they lie in its last 256 KiB."""
    lines, _ = _tail(path, count)
    return lines


async def follow(
    paths: Mapping[str, Path], *, tail: int, goes_on: Callable[[], bool]
) -> AsyncIterator[tuple[str, str]]:
    """The last `tail` lines of each file by its name, then new ones while `goes_on`, to the last
    that was written."""
    readers = {}
    for name, path in paths.items():
        lines, offset = _tail(path, tail)
        readers[name] = _Reader(path, offset)
        for line in lines:
            yield name, line
    while True:
        is_live = goes_on()  # asked first: what was written before the end is still read
        for name, reader in readers.items():
            for line in reader.new_lines():
                yield name, line
        if not is_live:
            break
        await asyncio.sleep(POLL_S)
    for name, reader in readers.items():
        if reader.rest:
            yield name, reader.rest.decode("utf-8", "replace")


class _Reader:
    """A file that grows, read up to `offset`; `rest` is a line that has no end yet."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self.rest = b""

    def new_lines(self) -> list[str]:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
            self._offset += len(data)
            self.rest += data
        *whole, self.rest = self.rest.split(b"\n")
        return [raw.decode("utf-8", "replace") for raw in whole]


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
