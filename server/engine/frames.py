"""How messages between two processes lie in a byte stream: each behind its length."""

import struct

MAX_FRAME = 256 * 1024 * 1024
_LENGTH = struct.Struct("!I")


def pack(body: bytes) -> bytes:
    """One frame."""
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a byte stream into frames. Raises ValueError on a frame beyond reason."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of all frames that are complete now."""
        self._buffer += data
        bodies = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size
            bodies.append(bytes(self._buffer[at : at + length]))
            at += length
        del self._buffer[:at]
        return bodies
