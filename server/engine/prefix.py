"""How long sequences of tokens are kept, and how far two of them are the same."""

from array import array
from collections.abc import Iterable
from collections.abc import Sequence as Tokens
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from server.engine.image_tokens import whole_before

T = TypeVar("T")
TokenArray: TypeAlias = "array[int]"

_BLOCK = 1024


def token_array(tokens: Iterable[int] = ()) -> TokenArray:
    """Tokens as plain memory: 8 bytes each, which the rows of images need."""
    return array("q", tokens)


class Known(NamedTuple, Generic[T]):
    """Tokens that somebody has, of which the first `num_usable` count."""

    owner: T
    tokens: Tokens[int]
    num_usable: int


def common_prefix(a: Tokens[int], b: Tokens[int], most: int) -> int:
    """How many leading tokens two sequences share, at most `most`; an image counts only whole.

    Two of `token_array` are compared many times as fast as two lists.
    """
    end = min(len(a), len(b), most)
    at, size = 0, _BLOCK
    while size > 1:
        if at + size <= end and a[at : at + size] == b[at : at + size]:
            at += size
        else:
            size //= 4
    while at < end and a[at] == b[at]:
        at += 1
    return whole_before(a, at)


def longest_prefix(
    tokens: Tokens[int], most: int, known: Iterable[Known[T]], *, whole: bool = False
) -> tuple[T | None, int]:
    """Whose tokens begin like these, for longest, and for how many, at most `most`; the first
    of equals, None if nobody's do. `whole`: only who has no other token counts."""
    best, length = None, 0
    for owner, own, num_usable in known:
        end = min(most, num_usable, len(own), len(tokens))
        # Many prompts may share a long beginning, but who differs here cannot share more.
        if end <= length or own[length] != tokens[length]:
            continue
        found = common_prefix(own, tokens, end)
        if found > length and not (whole and found < num_usable):
            best, length = owner, found
    return best, length
