"""From the file of an image to its pixels, in the process of the model.

Pillow decodes, and only the formats that the limits name. llama.cpp's own helper would take any
sound or film, and start ffmpeg for it, but no WebP without; it knows no limits, either. What
Pillow's libraries may still do to a process they do to a runner, which is started again.
"""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server import limits
from server.engine.backend import RequestError
from server.errors import ServerError
from server.image_header import FORMATS, read_image_header

Pixels = NDArray[np.uint8]

# What Pillow is known to raise for files that are broken or broken on purpose.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_BACKGROUND = (255, 255, 255)


def read_pixels(data: bytes) -> Pixels:
    """The first picture of a file, (height, width, 3), what shows through it white.

    Raises `RequestError` if it cannot be decoded or is over a limit.
    """
    try:
        limits.check_images([data])
        header = read_image_header(data)
    except ServerError as error:
        raise RequestError(error.message) from None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if (image.width, image.height) != (header.width, header.height):
                raise RequestError("an image has another size than its header says")
            return np.asarray(_opaque(image), dtype=np.uint8)
    except _BROKEN as error:
        raise RequestError(f"an image cannot be decoded: {error}") from None


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    whole = Image.new("RGB", layer.size, _BACKGROUND)
    whole.paste(layer, mask=layer)
    return whole
