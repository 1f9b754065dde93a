"""How an image stands among the tokens of a prompt.

An image becomes a run of rows in the cache. Each row is a token with a negative id, made of
the content of the image and the number of the row: the same image gives the same run, so what
is known of prompts (common beginnings above all) holds for images without a word about them.
An id tells besides whether its row is the last of its image, and whether it takes a position
of its own (in some models several rows of an image share one).
"""

import hashlib
from collections.abc import Sequence as Tokens
from typing import NamedTuple

_LAST, _ADVANCES = 1, 2
_FLAG_BITS = 2
_HASH_BYTES = 7


class Span(NamedTuple):
    """Where the rows of one image stand, from `start` up to `stop`."""

    start: int
    stop: int


def image_tokens(content: bytes, rows: int, positions: int) -> list[int]:
    """The tokens of an image of so many rows, of which `positions` take one.

    `content` decides what it is, such as a digest of its file. Two images have the same tokens
    by chance only, one time in 2^56 for each row.
    """
    stream = hashlib.shake_256(content).digest(rows * _HASH_BYTES)
    tokens = []
    for row in range(rows):
        number = int.from_bytes(stream[row * _HASH_BYTES : (row + 1) * _HASH_BYTES], "big")
        flags = (_LAST if row == rows - 1 else 0) | (_ADVANCES if row < positions else 0)
        tokens.append(-1 - (number << _FLAG_BITS | flags))
    return tokens


def is_of(tokens: Tokens[int], content: bytes) -> bool:
    """Whether the image that begins these tokens has this content."""
    number = int.from_bytes(hashlib.shake_256(content).digest(_HASH_BYTES), "big")
    return (-1 - tokens[0]) >> _FLAG_BITS == number


def is_image(token: int) -> bool:
    """Whether this token is a row of an image."""
    return token < 0


def image_spans(tokens: Tokens[int]) -> list[Span]:
    """Where each image stands. Raises ValueError if one lacks its end."""
    spans: list[Span] = []
    start: int | None = None
    for at, token in enumerate(tokens):
        if token >= 0:
            if start is not None:
                break
        else:
            start = at if start is None else start
            if _is_last(token):
                spans.append(Span(start, at + 1))
                start = None
    if start is not None:
        raise ValueError(f"the image at token {start} has no end")
    return spans


def text_tokens(tokens: Tokens[int]) -> list[int]:
    """The tokens without those of images."""
    return [token for token in tokens if token >= 0]


def whole_before(tokens: Tokens[int], length: int) -> int:
    """The most of the first `length` tokens that do not end within an image."""
    while 0 < length < len(tokens) and _goes_on(tokens, length):
        length -= 1
    return length


def whole_after(tokens: Tokens[int], start: int) -> int:
    """The first place from `start` on that is not within an image."""
    while 0 < start < len(tokens) and _goes_on(tokens, start):
        start += 1
    return start


def num_shared(tokens: Tokens[int]) -> int:
    """How many of these tokens take no position of their own."""
    return sum(token < 0 and not (-1 - token) & _ADVANCES for token in tokens)


def _goes_on(tokens: Tokens[int], at: int) -> bool:
    """Whether the token before `at` is a row of an image that is not its last."""
    before = tokens[at - 1]
    return before < 0 and not _is_last(before)


def _is_last(token: int) -> bool:
    return bool((-1 - token) & _LAST)
