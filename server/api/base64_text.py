"""Base64 as Go's decoder takes it, in pieces: one call for 50 MB would hold up all threads."""

import binascii
import re

from server.errors import InvalidRequest

_PIECE_CHARACTERS = 1 << 20
_FOREIGN = re.compile(r"[^A-Za-z0-9+/=\r\n]")


def decode(text: str) -> bytes:
    """The bytes. Line ends are skipped, padding is needed. Raises `InvalidRequest` in the words
    of Go's decoder, with the first character that is not base64 or the end of the text."""
    packed = text.replace("\n", "").replace("\r", "")
    if packed.find("=", 0, max(0, len(packed) - 2)) >= 0:
        raise _illegal(text)
    try:
        return b"".join(
            binascii.a2b_base64(packed[start : start + _PIECE_CHARACTERS], strict_mode=True)
            for start in range(0, len(packed), _PIECE_CHARACTERS)
        )
    except ValueError:
        raise _illegal(text) from None


def _illegal(text: str) -> InvalidRequest:
    found = _FOREIGN.search(text)
    at = found.start() if found else len(text)
    return InvalidRequest(f"illegal base64 data at input byte {at}")
