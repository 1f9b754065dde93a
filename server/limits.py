"""How much one request may bring. What is over a limit is refused, never cut.

The size of a body is checked while it arrives (`Settings.max_body_bytes`); these are
the limits inside it.
"""

from collections.abc import Sequence, Sized
from typing import Any

from server.errors import InvalidRequest, PayloadTooLarge
from server.image_header import ImageHeader, read_image_header

# More brackets and commas than any prompt has: what they make takes memory and time.
MAX_JSON_VALUES = 2_000_000
MAX_MESSAGES = 10_000
MAX_TOOLS = 512
MAX_STOP_STRINGS = 64
MAX_STOP_LENGTH = 1024
MAX_OPTIONS = 256
MAX_BIASES = 1024
MAX_TOKEN_DIGITS = 9
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 64
MAX_IMAGES = 64
MAX_IMAGE_BYTES = 20 << 20
# All images of a request; they travel to the runner in one message.
MAX_IMAGES_BYTES = 128 << 20
# Decoding takes three bytes a pixel in the runner; a camera's picture has 12 to 24 million.
MAX_IMAGE_PIXELS = 32 << 20
# What is longer is no picture, and what some models make of it is not known.
MAX_IMAGE_ASPECT = 200
MAX_EMBED_INPUTS = 2048
# Replies to one request: of one prompt, of all its prompts, and at the same time.
MAX_CHOICES = 16
MAX_REPLIES = 128
MAX_REPLIES_AT_ONCE = 16
MAX_PATTERN_LENGTH = 16 * 1024
MAX_PIECES = 4096
MAX_EMBED_TOKENS = 1 << 20
# A prompt may be longer than the window and is cut, but all of it is tokenized first.
MIN_PROMPT_LIMIT = 1 << 20
PROMPT_CHARACTERS_PER_TOKEN = 32


def check_count(what: str, items: Sized, most: int) -> None:
    """Raise `PayloadTooLarge` if there are more than `most` items."""
    if len(items) > most:
        raise PayloadTooLarge(f"too many {what}: {len(items)}, at most {most}")


def check_prompt(length: int, context: int) -> None:
    """Raise `PayloadTooLarge` if that many characters are far beyond `context` tokens."""
    most = max(MIN_PROMPT_LIMIT, PROMPT_CHARACTERS_PER_TOKEN * context)
    if length > most:
        raise PayloadTooLarge(f"the prompt has {length} characters, at most {most} are read")


def check_inputs(inputs: Sequence[Sized]) -> None:
    """Raise `PayloadTooLarge` if the inputs of an embedding have too many tokens together."""
    total = sum(len(tokens) for tokens in inputs)
    if total > MAX_EMBED_TOKENS:
        raise PayloadTooLarge(f"the inputs have {total} tokens, at most {MAX_EMBED_TOKENS}")


def check_stop(stop: tuple[str, ...]) -> None:
    """Stop strings are compared with every token, so their number and length count."""
    check_count("stop strings", stop, MAX_STOP_STRINGS)
    if any(len(text) > MAX_STOP_LENGTH for text in stop):
        raise PayloadTooLarge(f"a stop string is longer than {MAX_STOP_LENGTH} characters")


def check_images(images: Sequence[bytes]) -> None:
    """Raise `PayloadTooLarge` for too many images, too many bytes or too many pixels, and
    `InvalidRequest` for one of a shape or in a format that is not read. Nothing is decoded for
    that."""
    check_count("images", images, MAX_IMAGES)
    total = sum(len(image) for image in images)
    if total > MAX_IMAGES_BYTES:
        raise PayloadTooLarge(
            f"the images have {total} bytes together, at most {MAX_IMAGES_BYTES} are read"
        )
    for image in images:
        if len(image) > MAX_IMAGE_BYTES:
            raise PayloadTooLarge(
                f"an image has {len(image)} bytes, at most {MAX_IMAGE_BYTES} are read"
            )
        _check_size(read_image_header(image))


def _check_size(header: ImageHeader) -> None:
    width, height = header.width, header.height
    if header.num_pixels > MAX_IMAGE_PIXELS:
        raise PayloadTooLarge(
            f"an image has {width} × {height} pixels, at most {MAX_IMAGE_PIXELS} are read"
        )
    if max(width, height) > MAX_IMAGE_ASPECT * min(width, height):
        raise InvalidRequest(
            f"an image has {width} × {height} pixels: one side is more than "
            f"{MAX_IMAGE_ASPECT} times as long as the other"
        )


def check_schema(schema: dict[str, Any], encoded: bytes) -> None:
    """A schema becomes a grammar, so its size and depth count."""
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise PayloadTooLarge(f"the schema is larger than {MAX_SCHEMA_BYTES} bytes")
    if not _is_shallow(schema, MAX_SCHEMA_DEPTH):
        raise InvalidRequest(f"the schema is nested more than {MAX_SCHEMA_DEPTH} deep")


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    if depth == 0:
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_is_shallow(item, depth - 1) for item in items)
