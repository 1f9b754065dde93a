"""From image files to rows for the model, and what is kept of them in between.

A file is needed twice: when its prompt is turned into tokens, to know how many rows it has, and
when the engine gets to it, to look at it, which takes most of the time. Both need its pixels,
so those of the last files are kept; so is what was seen, as long as there is room, and the
tokens of many files, because a conversation comes back with all its images each time. All of
it may be forgotten: a request brings its files along.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from server.engine.backend import RequestError
from server.engine.config import IMAGE_CACHE_BYTES
from server.engine.image_tokens import image_tokens, is_of
from server.engine.pixels import Pixels, read_pixels

# So many files are kept ready to be looked at: as many as a model of large pictures may cut
# into tiles at a time without their pixels filling the memory.
_MOST_READY = 4
# The tokens of so many files are known.
_MOST_KNOWN = 256
# No projector cuts a picture into more.
_MOST_PARTS = 256


class Seen(NamedTuple):
    """What the model reads instead of tokens: a row of numbers for each.

    `places` are the positions of the rows by dimension for an image at position 0, and `moves`
    by how much each grows with it. `is_causal`: a row does not look at those behind it.
    """

    rows: NDArray[np.float32]
    places: NDArray[np.int32]
    moves: NDArray[np.int32]
    is_causal: bool


class Picture(Protocol):
    """An image, or a part of one, that is ready to be looked at."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_positions(self) -> int: ...

    def close(self) -> None:
        """Free what belongs to C."""


class Eyes(Protocol):
    """A loaded projector."""

    def prepare(self, pixels: Pixels) -> Sequence[Picture | list[int]]:
        """The parts of an image and the tokens that the model wants around them, in order; may
        be called by several threads. Raises `RequestError`."""

    def look(self, picture: Picture) -> Seen:
        """What is in it; blocks for long. Raises `RequestError`."""


class Looking:
    """The images of one model. `tokenize` may be called by any thread, the rest by one."""

    def __init__(self, eyes: Eyes, *, most_seen_bytes: int = IMAGE_CACHE_BYTES) -> None:
        self._eyes = eyes
        self._most_seen_bytes = most_seen_bytes
        self._lock = threading.Lock()
        # By the digest of a file.
        self._known: OrderedDict[bytes, list[int]] = OrderedDict()
        # By the digest of a file: its parts that nobody has looked at.
        self._ready: OrderedDict[bytes, dict[tuple[int, ...], Picture]] = OrderedDict()
        self._seen: OrderedDict[tuple[int, ...], Seen] = OrderedDict()
        self._seen_bytes = 0

    def tokenize(self, data: bytes) -> list[int]:
        """The tokens of an image, with those that the model wants around it. Raises
        `RequestError`."""
        digest = hashlib.sha256(data).digest()
        with self._lock:
            known = self._known.get(digest)
        return self._read(digest, data) if known is None else list(known)

    def has_seen(self, tokens: Sequence[int]) -> bool:
        """Whether `seen` knows the image of these tokens."""
        return tuple(tokens) in self._seen

    def seen(self, tokens: Sequence[int]) -> Seen:
        """What was seen, until the next `look`. Raises KeyError."""
        key = tuple(tokens)
        self._seen.move_to_end(key)
        return self._seen[key]

    def look(self, tokens: Sequence[int], files: Sequence[bytes]) -> None:
        """Look at the image of these tokens, which is in one of these files. Raises
        `RequestError`."""
        digest, data = _find(tokens, files)
        key = tuple(tokens)
        picture = self._take_ready(digest, key)
        if picture is None:
            self._read(digest, data)
            picture = self._take_ready(digest, key)
        if picture is None:
            raise RequestError("an image of the prompt is another than the one that came with it")
        try:
            self._keep_seen(key, self._eyes.look(picture))
        finally:
            picture.close()

    def _read(self, digest: bytes, data: bytes) -> list[int]:
        tokens: list[int] = []
        pictures: dict[tuple[int, ...], Picture] = {}
        for part in self._eyes.prepare(read_pixels(data)):
            if isinstance(part, list):
                tokens += part
                continue
            content = _content(digest, len(pictures))
            ids = image_tokens(content, part.num_rows, part.num_positions)
            pictures[tuple(ids)] = part
            tokens += ids
        self._keep_ready(digest, tokens, pictures)
        return list(tokens)

    def _keep_ready(
        self, digest: bytes, tokens: list[int], pictures: dict[tuple[int, ...], Picture]
    ) -> None:
        with self._lock:
            self._known[digest] = tokens
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            gone = [self._ready.pop(digest, {})]
            self._ready[digest] = pictures
            while len(self._ready) > _MOST_READY:
                gone.append(self._ready.popitem(last=False)[1])
        for each in gone:
            for picture in each.values():
                picture.close()

    def _take_ready(self, digest: bytes, key: tuple[int, ...]) -> Picture | None:
        with self._lock:
            return self._ready.get(digest, {}).pop(key, None)

    def _keep_seen(self, key: tuple[int, ...], seen: Seen) -> None:
        if key in self._seen:
            self._seen_bytes -= self._seen.pop(key).rows.nbytes
        self._seen[key] = seen
        self._seen_bytes += seen.rows.nbytes
        while self._seen_bytes > self._most_seen_bytes and len(self._seen) > 1:
            self._seen_bytes -= self._seen.popitem(last=False)[1].rows.nbytes


def _content(digest: bytes, part: int) -> bytes:
    return digest + part.to_bytes(2, "big")


def _find(tokens: Sequence[int], files: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The digest and the bytes of the file that an image is in. Raises `RequestError`."""
    for data in files:
        digest = hashlib.sha256(data).digest()
        if any(is_of(tokens, _content(digest, part)) for part in range(_MOST_PARTS)):
            return digest, data
    raise RequestError("an image of the prompt did not come with it")
