"""Compressed request bodies: gzip and zstd, unpacked only as far as a body may be large.

A few kilobytes can unpack to gigabytes, so it goes in slices, each of which has to find
room before the next one is made.
"""

import asyncio
import gzip
import io
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from server.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding

_SLICE_BYTES = 1 << 20
# What a decoder must be ready for, says RFC 8878; more would be memory of the sender's choice.
_ZSTD_WINDOW_BYTES = 8 << 20


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


ACCEPTED = ("gzip", "zstd")


async def unpacked(
    body: bytes, encoding: str, most_bytes: int, grow_to: Callable[[int], None]
) -> bytes:
    """The body without its `Content-Encoding`; `grow_to` is told about every slice before the
    next one is made, and may raise.

    Raises `UnsupportedEncoding`, `PayloadTooLarge` above `most_bytes`, and `InvalidRequest`
    for what is broken.
    """
    reader = _reader(body, encoding.strip().lower())
    if reader is None:
        return body
    parts, size = [], 0
    while part := await asyncio.to_thread(_read, reader, encoding):
        size += len(part)
        if size > most_bytes:
            raise PayloadTooLarge(f"the body unpacks to more than {most_bytes} bytes")
        grow_to(len(body) + size)
        parts.append(part)
    return b"".join(parts)


def _reader(body: bytes, encoding: str) -> _Reader | None:
    """What reads it; None if there is nothing to unpack."""
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return gzip.GzipFile(fileobj=io.BytesIO(body))
    if encoding == "zstd":
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        return unpacker.stream_reader(io.BytesIO(body), read_across_frames=True)
    raise UnsupportedEncoding(
        f"a body in {encoding} is not understood: send it as {', '.join(ACCEPTED)} or as it is"
    )


def _read(reader: _Reader, encoding: str) -> bytes:
    try:
        return reader.read(_SLICE_BYTES)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        raise InvalidRequest(f"the body is no valid {encoding}") from None
