"""What is there of a blob that is being downloaded, and what is missing.

Ollama's layout, so that either goes on with what the other began: `<blob>-partial` has the
size of the whole blob, `<blob>-partial-<N>` is a note in JSON about its part N.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

PARTIAL = "-partial"
MOST_PARTS = 16
LEAST_PART_BYTES = 100_000_000
MOST_PART_BYTES = 1_000_000_000
_MAX_NOTES = 1 << 14
_MAX_NOTE_BYTES = 1 << 12


class Part(msgspec.Struct, frozen=True, rename="pascal"):
    """Bytes `offset` to `offset + size` of a blob, of which the first `completed` are there."""

    n: int
    offset: int
    size: int
    completed: int = 0

    @property
    def missing(self) -> int:
        return self.size - self.completed

    @property
    def position(self) -> int:
        """Where the first byte that is missing goes."""
        return self.offset + self.completed

    def advanced(self, count: int) -> "Part":
        """The part with so many more bytes. Raises `ValueError` for more than are missing."""
        if not 0 <= count <= self.missing:
            raise ValueError(f"{count} bytes for a part that lacks {self.missing}")
        return msgspec.structs.replace(self, completed=self.completed + count)


def plan(
    size: int, *, least_bytes: int = LEAST_PART_BYTES, most_bytes: int = MOST_PART_BYTES
) -> list[Part]:
    """The parts of a new download, as Ollama cuts them: 16 equal ones within limits."""
    step = max(1, min(max(size // MOST_PARTS, least_bytes), most_bytes))
    offsets = range(0, size, step)
    return [Part(n, offset, min(step, size - offset)) for n, offset in enumerate(offsets)]


def covers(parts: Sequence[Part], size: int) -> bool:
    """Whether the parts, in order, are a blob of that size without gap or overlap."""
    end = 0
    for number, part in enumerate(parts):
        is_next = part.n == number and part.offset == end and part.size > 0
        if not is_next or not 0 <= part.completed <= part.size:
            return False
        end += part.size
    return end == size


def completed(parts: Iterable[Part]) -> int:
    """The bytes that are there."""
    return sum(part.completed for part in parts)


class Notes:
    """The notes about the parts of one blob. All of it blocks, shortly."""

    def __init__(self, partial: Path) -> None:
        self._partial = partial

    def read(self, size: int) -> list[Part]:
        """The parts of a blob of that size; none if there are no notes that make sense."""
        parts = []
        for number in range(_MAX_NOTES):
            part = self._read_one(number)
            if part is None:
                break
            parts.append(part)
        return parts if covers(parts, size) else []

    def write(self, part: Part) -> None:
        """Note how far a part is. Not made to last a power cut: the digest would tell."""
        path = self._path(part.n)
        new = path.with_name(f".{path.name}")
        new.write_bytes(msgspec.json.encode(part))
        new.replace(path)

    def remove(self) -> None:
        """Forget everything."""
        for pattern in (f"{self._partial.name}-*", f".{self._partial.name}-*"):
            for path in self._partial.parent.glob(pattern):
                path.unlink(missing_ok=True)

    def _read_one(self, number: int) -> Part | None:
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            with self._path(number).open("rb") as file:
                data = file.read(_MAX_NOTE_BYTES)
            return msgspec.json.decode(data, type=Part)
        return None

    def _path(self, number: int) -> Path:
        return self._partial.with_name(f"{self._partial.name}-{number}")


def make_room(handle: int, size: int) -> bool:
    """Give the file of a download its size; whether it had it, so that its notes hold."""
    if os.fstat(handle).st_size == size:
        return True
    os.ftruncate(handle, 0)
    os.ftruncate(handle, size)
    return False
