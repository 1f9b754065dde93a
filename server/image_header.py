"""What an image file says of itself in its first bytes: format, width and height.

Read without decoding anything, so that a file is refused before it costs something. The file
is hostile: whoever decodes it later asks the decoder again.
"""

import struct
from typing import Literal, NamedTuple

from server.errors import InvalidRequest

Format = Literal["PNG", "JPEG", "WEBP", "GIF"]
FORMATS: tuple[Format, ...] = ("PNG", "JPEG", "WEBP", "GIF")

_PNG = b"\x89PNG\r\n\x1a\n"
# Start of frame, but for DHT (C4), JPG (C8) and DAC (CC): ITU T.81, table B.1.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length


class ImageHeader(NamedTuple):
    """`width` and `height` in pixels, both at least 1."""

    format: Format
    width: int
    height: int

    @property
    def num_pixels(self) -> int:
        return self.width * self.height


def read_image_header(data: bytes) -> ImageHeader:
    """The header of an image file. Raises `InvalidRequest` for anything else."""
    try:
        header = _read(data)
    except (struct.error, IndexError):
        raise InvalidRequest("the image is cut short") from None
    if header.width < 1 or header.height < 1:
        raise InvalidRequest("the image has no pixels")
    return header


def _read(data: bytes) -> ImageHeader:
    if data.startswith(_PNG):
        return ImageHeader("PNG", *struct.unpack_from(">II", data, 16))
    if data.startswith(b"\xff\xd8\xff"):
        return ImageHeader("JPEG", *_jpeg_size(data))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ImageHeader("GIF", *struct.unpack_from("<HH", data, 6))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageHeader("WEBP", *_webp_size(data))
    raise InvalidRequest(f"the image is none of {', '.join(FORMATS)}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first frame header, past all segments before it."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise InvalidRequest("the image is a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif marker in _JPEG_ALONE:
            at += 2
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + max(2, length)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk, of which there are three kinds (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, high, height, top = struct.unpack_from("<HBHB", data, 24)
        return 1 + (width | high << 16), 1 + (height | top << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise InvalidRequest("the image is a damaged WEBP")
