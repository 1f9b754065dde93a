"""JSON as models write it: read strictly first, then with the mistakes that mean one thing.

Those are trailing commas, single quotes, Python's `True`, `False` and `None`, raw line
breaks inside strings, and brackets missing at the very end. All else is refused, for a
call with guessed arguments is worse than none. Time is linear, depth is bounded.
"""

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 100
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])", re.ASCII)
_WORD = re.compile(r"[A-Za-z]+\b")
_STRINGS = {
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
}
_BARE_QUOTE = re.compile(r'(\\.)|"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotReadable(ValueError):
    """The text is not what it should be, and no repair is unambiguous."""


def read_json(text: str, *, missing: int = 0) -> Any:
    """The value that `text` is. `missing`: how many closing brackets may lack at its end.

    Raises `NotReadable`.
    """
    try:
        return plain(json.loads(text, strict=False, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return plain(_Reader(text, missing).whole())


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value as something that every JSON encoder takes: finite numbers, no half
    surrogates, bounded depth. Raises `NotReadable`."""
    if depth < 0:
        raise NotReadable("nested too deep")
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {plain(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, depth - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise NotReadable("a number too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise NotReadable(f"{name} is no JSON")


class _Reader:
    """Reads one value by descent, forgiving what the module's text names."""

    def __init__(self, text: str, missing: int) -> None:
        self._text = text
        self._at = 0
        self._missing = missing

    def whole(self) -> Any:
        value = self._value(MAX_DEPTH)
        if self._peek():
            raise NotReadable("text behind the value")
        return value

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        self._at = _end(_SPACE.match(self._text, self._at), self._at)
        return self._text[self._at : self._at + 1]

    def _value(self, depth: int) -> Any:
        start = self._peek()
        if depth < 0:
            raise NotReadable("nested too deep")
        if start == "{":
            return self._object(depth)
        if start == "[":
            return self._list(depth)
        if start in _STRINGS and start:
            return self._string(start)
        return self._scalar()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        while not self._closes("}"):
            quote = self._peek()
            if quote not in _STRINGS:
                raise NotReadable("a key without quotes")
            key = self._string(quote)
            if self._peek() != ":":
                raise NotReadable("a key without a value")
            self._at += 1
            found[key] = self._value(depth - 1)
            self._separate("}")
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self._at += 1
        while not self._closes("]"):
            found.append(self._value(depth - 1))
            self._separate("]")
        return found

    def _closes(self, bracket: str) -> bool:
        following = self._peek()
        if following == bracket:
            self._at += 1
            return True
        if following or not self._missing:
            return False
        self._missing -= 1
        return True

    def _separate(self, bracket: str) -> None:
        """Behind an item: a comma, which may be the last, or the end."""
        following = self._peek()
        if following == ",":
            self._at += 1
        elif following not in (bracket, ""):
            raise NotReadable("a comma is missing")

    def _string(self, quote: str) -> str:
        match = _STRINGS[quote].match(self._text, self._at)
        if match is None:
            raise NotReadable("a string without end")
        self._at = match.end()
        inner: str = match[1]
        if quote == "'":
            inner = _BARE_QUOTE.sub(_requote, inner)
        try:
            text: str = json.loads(f'"{inner}"', strict=False)
        except ValueError:
            raise NotReadable("a string with a wrong escape") from None
        return text

    def _scalar(self) -> Any:
        if word := _WORD.match(self._text, self._at):
            if word[0] not in _LITERALS:
                raise NotReadable("a word without quotes")
            self._at = word.end()
            return _LITERALS[word[0]]
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise NotReadable("no value")
        self._at = number.end()
        try:
            return json.loads(number[0])
        except ValueError:
            raise NotReadable("a number too long") from None


def _requote(match: re.Match[str]) -> str:
    """What stands in a single-quoted string, as it stands in a double-quoted one."""
    escape: str | None = match[1]
    if escape is None:
        return '\\"'
    return "'" if escape == "\\'" else escape


def _end(match: re.Match[str] | None, otherwise: int) -> int:
    return otherwise if match is None else match.end()
