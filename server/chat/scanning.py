"""Finding where something begins and ends in text that comes in pieces.

Each character is looked at a bounded number of times, however the text is cut.
"""

import re
from collections.abc import Sequence

_STRUCTURE = r"[\"'(\[{}\])]"
_STRING_PARTS = {'"': r'\\|"', "'": r"\\|'"}


def one_of(texts: Sequence[str]) -> str:
    """A pattern for any of the texts, the longest first; for none of them if there are none."""
    longest_first = sorted(set(texts), key=len, reverse=True)
    return "|".join(map(re.escape, longest_first)) if texts else r"(?!)"


class Beginnings:
    """Whether text may be the beginning of one of some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._proper = frozenset(text[:n] for text in texts for n in range(1, len(text)))
        self._longest = max(map(len, texts), default=1) - 1

    def __contains__(self, text: str) -> bool:
        return text in self._proper

    def held(self, text: str) -> int:
        """Length of the longest end of `text` that may go on to be one of the texts."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if text[-length:] in self._proper:
                return length
        return 0


class ValueEnd:
    """Where a value ends that is written with brackets and quotes.

    A value ends with its outermost bracket (`is_whole` False: never by itself), or in
    front of one of `ends` that stands in no string. Text in front of the first bracket
    is a heading, in which quotes and the texts of `heading` mean nothing. `is_lax`: `ends`
    count inside strings too, for text whose quotes do not match.
    """

    def __init__(
        self,
        ends: Sequence[str],
        *,
        heading: Sequence[str] = (),
        is_whole: bool = True,
        is_lax: bool = False,
    ) -> None:
        self._is_whole = is_whole
        self._skipped = frozenset(heading)
        self._beginnings = Beginnings((*ends, *heading))
        end = f"(?P<end>{one_of(ends)})"
        in_string = end if is_lax else "(?P<end>(?!))"
        self._outside = re.compile(f"{end}|{_STRUCTURE}")
        self._heading = re.compile(f"{end}|{one_of(heading)}|[\\[{{]")
        self._inside = {
            quote: re.compile(f"{parts}|{in_string}") for quote, parts in _STRING_PARTS.items()
        }
        self._has_begun = not is_whole
        self._depth = 0
        self._quote = ""
        self._is_escaped = False

    def feed(self, text: str) -> tuple[int, bool]:
        """How much of `text` belongs to the value as far as is certain, and whether the
        value ends there. The rest is to be fed again, with what follows it."""
        at = 0
        certain = len(text) - self._beginnings.held(text)
        while True:
            if self._is_escaped and at < len(text):
                at, self._is_escaped = at + 1, False
            match = self._pattern.search(text, at)
            if match is None or (match.start() >= certain and not match["end"]):
                return max(at, certain), False
            if match["end"]:
                return match.start(), True
            at = match.end()
            if self._ends_with(match[0]):
                return at, True

    @property
    def _pattern(self) -> re.Pattern[str]:
        if self._quote:
            return self._inside[self._quote]
        return self._outside if self._has_begun else self._heading

    def _ends_with(self, mark: str) -> bool:
        """Take one structural character; whether it ends the value."""
        if mark == "\\":
            self._is_escaped = True
        elif self._quote:
            self._quote = ""
        elif mark in "\"'":
            self._quote = mark
        elif mark in self._skipped:
            pass
        elif mark in "([{":
            self._has_begun = True
            self._depth += 1
        else:
            self._depth -= 1
            return self._is_whole and self._depth <= 0
        return False
