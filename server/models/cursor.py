"""Reading a file of unknown intent: every step is held against the size of the file."""

import os
import struct
from typing import BinaryIO

from server.errors import ModelUnusable

CHUNK_BYTES = 1 << 20
LENGTH = struct.Struct("<Q")  # what stands in front of a text
IMPOSSIBLE = 1 << 63


class Beyond(Exception):
    """Only the beginning of a file is here, and it would have to reach to `needed`."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Cursor:
    """Walks once through a file. Every method either advances or raises `ModelUnusable`.

    `name` is what the file is called in messages. What is read ahead is one chunk, or
    as much as is asked for at once. With a `size`, `file` is the beginning of a file of that
    size; where it ends `Beyond` is raised.
    """

    def __init__(self, file: BinaryIO, name: str, size: int | None = None) -> None:
        self.name = name
        self._is_beginning = size is not None
        self.size = os.fstat(file.fileno()).st_size if size is None else size
        self._file = file
        self._buffer = b""
        self._base = 0  # offset of the buffer in the file
        self._at = 0  # offset in the buffer

    @property
    def position(self) -> int:
        """The offset of the next byte."""
        return self._base + self._at

    @property
    def left(self) -> int:
        """How many bytes there are from here on."""
        return self.size - self.position

    def require(self, count: int) -> None:
        """Raise unless there are that many bytes from here on."""
        if count > self.left:
            raise self.cut_short(self.position + count)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if self._at + count > len(self._buffer):
            self._fill(count)
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        return taken

    def unpack(self, code: str) -> int:
        """The next whole number, by its code of the struct module, little-endian."""
        form = f"<{code}"
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        self.require(count)
        if self._at + count <= len(self._buffer):
            self._at += count
        else:
            self.seek(self.position + count)

    def seek(self, position: int) -> None:
        """Go to an offset inside the file."""
        self._base, self._at, self._buffer = position, 0, b""

    def skip_texts(self, count: int) -> None:
        """Pass over texts without building them: the inner loop runs 10^5 times a file."""
        length_at = LENGTH.unpack_from
        while count:
            buffer, at, last = self._buffer, self._at, len(self._buffer) - LENGTH.size
            while count and at <= last:
                beyond = at + LENGTH.size + length_at(buffer, at)[0]
                if beyond > len(buffer):
                    break
                at, count = beyond, count - 1
            self._at = at
            if count:  # one that reaches beyond the buffer
                self.skip(self.unpack("Q"))
                count -= 1

    def damaged(self, why: str) -> ModelUnusable:
        """The error for a file that contradicts itself."""
        return ModelUnusable(f"{self.name} is damaged: {why}", hint="download or copy it again")

    def cut_short(self, needed: int) -> ModelUnusable:
        """The error for a file that would have to be longer."""
        if needed >= IMPOSSIBLE:
            return self.damaged("a length in it is impossible")
        return ModelUnusable(
            f"{self.name} is cut short: it has {self.size} bytes and needs at least {needed}",
            hint="download or copy it again",
        )

    def _fill(self, count: int) -> None:
        """Make the buffer begin here and hold at least `count` bytes."""
        self.require(count)
        self._buffer = self._buffer[self._at :]
        self._base, self._at = self._base + self._at, 0
        self._file.seek(self._base + len(self._buffer))
        self._buffer += self._file.read(max(count, CHUNK_BYTES) - len(self._buffer))
        if len(self._buffer) < count and self._is_beginning:
            raise Beyond(self._base + count)
        if len(self._buffer) < count:  # it shrank while it was read
            raise self.cut_short(self._base + count)
