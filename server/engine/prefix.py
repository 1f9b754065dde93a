"""How far two token sequences are the same."""

from collections.abc import Sequence as Tokens

from server.engine.image_tokens import whole_before

_BLOCK = 128


def common_prefix(a: Tokens[int], b: Tokens[int], most: int) -> int:
    """How many leading tokens two sequences share, at most `most`; an image counts only whole."""
    end = min(len(a), len(b), most)
    at = 0
    while at + _BLOCK <= end and a[at : at + _BLOCK] == b[at : at + _BLOCK]:
        at += _BLOCK
    while at < end and a[at] == b[at]:
        at += 1
    return whole_before(a, at)
