"""Keeps apart what a template wrote and what it was given, in one rendered text.

Control tokens count only where the template wrote them. Before rendering, each one in
the text of a user is replaced by a private-use character (a stand-in), and afterwards the
text is cut there. The same goes for what is no text at all, such as an image.
Pure text: nothing here knows a template, a model or a tokenizer.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from os.path import commonprefix
from typing import Any, NamedTuple

from server.engine.types import Segment

_PRIVATE_USE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_PRIVATE = re.compile("[" + "".join(f"{chr(a[0])}-{chr(a[-1])}" for a in _PRIVATE_USE) + "]")
_NOTHING = r"(?!)"


class NoStandIn(Exception):
    """The text uses up all private-use characters."""


class Guard:
    """The stand-ins of one rendering. `values` is all text that takes part in it."""

    def __init__(self, tokens: Sequence[str], values: Any) -> None:
        used = _private_use(values)
        self._tokens = _known(tuple(tokens))
        self._free = (chr(c) for area in _PRIVATE_USE for c in area if chr(c) not in used)
        self._stand_ins: dict[str, str] = {}
        self._meanings: dict[str, Segment] = {}
        self._is_risky = False

    @property
    def is_risky(self) -> bool:
        """Whether what `hide` gave could become a control token by changing it: by another
        case, or by leaving out what stands in its middle."""
        return self._is_risky

    def reserve(self, meaning: Segment) -> str:
        """A character that becomes this segment."""
        stand_in = next(self._free, None)
        if stand_in is None:
            raise NoStandIn
        self._meanings[stand_in] = meaning
        return stand_in

    def hide(self, value: Any) -> Any:
        """The value with a stand-in for each control token in each of its texts.

        A text that ends like the beginning of one is broken up too, so that two texts
        side by side cannot make one.
        """
        return self._map(value, self._hide_tokens, self._hide_all)

    def shred(self, value: Any) -> Any:
        """The value with so many characters replaced that no part of its texts makes a
        control token, whatever is done to them."""
        return self._map(value, self._shred_text, self._shred_text)

    def has_same_tokens(self, one: str, other: str) -> bool:
        """Whether two rendered texts show the same control tokens in the same order."""
        find = self._tokens.whole.findall if self._tokens else str.split
        return find(one) == find(other)

    def split(self, text: str) -> list[Segment]:
        """Cut rendered text at the stand-ins and put back what they stand for."""
        if not self._meanings:
            return [Segment(text)] if text else []
        parts = re.split("([" + "".join(self._meanings) + "])", text)
        segments = (self._meanings.get(part) or Segment(part) for part in parts)
        return [segment for segment in segments if segment.text]

    def _map(self, value: Any, key: Callable[[str], str], text: Callable[[str], str]) -> Any:
        if self._tokens is None:
            return value
        if isinstance(value, str):
            return text(value)
        if isinstance(value, list):
            return [self._map(item, key, text) for item in value]
        if isinstance(value, dict):
            return {key(name): self._map(item, key, text) for name, item in value.items()}
        return value

    def _hide_tokens(self, text: str) -> str:
        if self._tokens is None:
            return text
        hidden = self._tokens.whole.sub(self._replace, text)
        self._is_risky = self._is_risky or self._tokens.parts.search(hidden) is not None
        return hidden

    def _hide_all(self, text: str) -> str:
        hidden = self._hide_tokens(text)
        tail = self._tokens.beginning(hidden) if self._tokens else ""
        return hidden[: -len(tail)] + self._stand_in(tail) if tail else hidden

    def _shred_text(self, text: str) -> str:
        return self._tokens.parts.sub(self._replace, text) if self._tokens else text

    def _replace(self, match: re.Match[str]) -> str:
        return self._stand_in(match.group())

    def _stand_in(self, text: str) -> str:
        if text not in self._stand_ins:
            self._stand_ins[text] = self.reserve(Segment(text, special=False))
        return self._stand_ins[text]


class _Tokens(NamedTuple):
    """`whole` finds control tokens, `parts` characters of which each has at least one, if it
    is not just letters."""

    whole: re.Pattern[str]
    parts: re.Pattern[str]
    beginnings: frozenset[str]
    longest: int

    def beginning(self, text: str) -> str:
        """The longest proper beginning of a control token that `text` ends with."""
        for length in range(min(self.longest, len(text)), 0, -1):
            if text[-length:] in self.beginnings:
                return text[-length:]
        return ""


@lru_cache(maxsize=16)
def _known(tokens: tuple[str, ...]) -> _Tokens | None:
    wanted = sorted({token for token in tokens if token})
    if not wanted:
        return None
    beginnings = {token[:length] for token in wanted for length in range(1, len(token))}
    return _Tokens(
        whole=re.compile(_any_of(wanted)),
        parts=re.compile("|".join(map(re.escape, _needed(wanted))) or _NOTHING),
        beginnings=frozenset(beginnings),
        longest=max(map(len, beginnings), default=0),
    )


def _any_of(texts: Sequence[str]) -> str:
    """A pattern for the longest of the sorted texts that is there. What they have in common
    is compared once: some vocabularies have thousands of control tokens."""
    common = len(commonprefix([texts[0], texts[-1]]))  # noqa: RUF071 - of texts, not of paths
    rests = [text[common:] for text in texts if len(text) > common]
    if not rests:
        return re.escape(texts[0])
    options = "|".join(_any_of(list(group)) for _, group in groupby(rests, lambda rest: rest[0]))
    optional = "?" if len(rests) < len(texts) else ""
    return f"{re.escape(texts[0][:common])}(?:{options}){optional}"


def _needed(tokens: Iterable[str]) -> list[str]:
    """Few characters of which every token has one. A token of nothing but letters, digits
    and underscores is left out: templates need those to understand what they are given."""
    left = [{c for c in token if not (c.isalnum() or c.isspace() or c == "_")} for token in tokens]
    chosen = []
    while left := [characters for characters in left if characters]:
        counts = Counter(c for characters in left for c in characters)
        best = max(counts, key=lambda c: (counts[c], c))
        chosen.append(best)
        left = [characters for characters in left if best not in characters]
    return chosen


def _private_use(value: Any) -> set[str]:
    """The private-use characters that occur already: they must not stand for anything."""
    if isinstance(value, str):
        return set() if value.isascii() else set(_PRIVATE.findall(value))
    if isinstance(value, dict):
        return _private_use([*value.keys(), *value.values()])
    if isinstance(value, list | tuple):
        return set().union(*map(_private_use, value))
    return set()
