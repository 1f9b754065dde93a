"""Reads typed values off the node tree and reports what does not fit.

Every method returns a value of its type: a placeholder when there is a problem. The log then
holds that problem, so a document with a placeholder in it is never handed out as valid.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from toolkit.sdl.nodes import Node, describe
from toolkit.sdl.problems import START, Log, Position, child
from toolkit.sdl.scalars import value_text

T = TypeVar("T")

_YES: Final = frozenset({"yes", "on", "y", "true"})
_NO: Final = frozenset({"no", "off", "n", "false"})


class Cursor:
    """One value of the file: its node, its JSON pointer, and the place of its key."""

    def __init__(self, node: Node, path: str, key: Position, log: Log) -> None:
        self.node = node
        self.path = path
        self.key = key
        self.log = log

    @property
    def name(self) -> str:
        """What messages call this value."""
        return _name(self.path)

    def problem(self, message: str, hint: str = "") -> None:
        """Report this value as unusable."""
        is_scalar = not isinstance(self.node.value, list | dict)
        position = self.node.position if is_scalar else self.key
        self.log.add(self.path, position, message, hint, spoils=self.path)

    def expected(self, what: str, hint: str = "") -> None:
        """Report that this value is not `what`."""
        if self.node.value is None and not hint:
            hint = "give it a value, or remove the key"
        self.problem(f"{self.name} must be {what}, not {self._described()}", hint)

    @property
    def _is_secret(self) -> bool:
        return "/credentials/" in self.path

    def _described(self) -> str:
        """What stands there instead; a secret is never repeated."""
        if self._is_secret and not isinstance(self.node.value, list | dict | None):
            return "this value"
        return describe(self.node)

    # -- scalars --------------------------------------------------------------

    def text(self, *, min_length: int = 0) -> str:
        """Text. Numbers, dates and true/false are not: they need quotes."""
        value = self.node.value
        if not isinstance(value, str):
            self.expected("text", self._quoted())
            return ""
        if len(value) < min_length:
            if min_length == 1:
                self.problem(f"{self.name} must not be empty", "fill it in")
            else:
                few = f"{self.name} needs at least {min_length} characters"
                self.problem(few, "write a longer one")
        return value

    def _quoted(self) -> str:
        value = self.node.value
        if value is None or isinstance(value, list | dict | str):
            return ""
        shown = "" if self._is_secret else f': "{value_text(value)}"'
        return f"put it in quotes{shown}"

    def matching(self, pattern: str, what: str, hint: str) -> str:
        """Text that matches `pattern` as a whole."""
        text = self.text()
        if isinstance(self.node.value, str) and not re.fullmatch(pattern, text):
            self.expected(what, hint)
        return text

    def choice(self, choices: Sequence[str], hint: str = "") -> str:
        """One of a few texts; the placeholder is the first."""
        value = self.node.value
        if isinstance(value, str) and value in choices:
            return value
        alternatives = " or ".join(choices) if len(choices) < 3 else "one of " + ", ".join(choices)
        self.expected(alternatives, hint or (self._quoted() if not isinstance(value, str) else ""))
        return choices[0]

    def boolean(self) -> bool:
        """true or false; `yes`, `on` and quoted words are text."""
        value = self.node.value
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else ""
        meant = "true" if word in _YES else "false" if word in _NO else ""
        self.expected("true or false", f"write {meant}, without quotes" if meant else "")
        return False

    def integer(self, minimum: int, maximum: int | None = None) -> int:
        """A whole number in a range; 80.0 and 0x50 are whole numbers, "80" is text."""
        value = self._whole()
        upper = "" if maximum is None else f" to {maximum}"
        what = f"a whole number from {minimum}{upper}"
        if value is None:
            is_quoted = isinstance(self.node.value, str) and self.node.value.isdecimal()
            self.expected(what, f"write {self.node.value}, without quotes" if is_quoted else "")
            return minimum
        if value < minimum:
            self.expected(what, f"write {minimum} or more")
        elif maximum is not None and value > maximum:
            self.expected(what, f"write {maximum} or less")
        return value

    def _whole(self) -> int | None:
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(value) if math.isfinite(value) and value == int(value) else None

    @property
    def number(self) -> int | float | None:
        """The value if it is a finite number."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if math.isfinite(value) else None

    # -- containers -----------------------------------------------------------

    def items(self, read: "Callable[[Cursor], T]") -> tuple[T, ...]:
        """A list, each item read by `read`."""
        if not isinstance(self.node.value, list):
            self.expected("a list", "" if self.node.value is None else "begin each line with - ")
            return ()
        return tuple(
            read(Cursor(item, child(self.path, index), item.position, self.log))
            for index, item in enumerate(self.node.value)
        )

    def entries(self) -> "Iterator[tuple[str, Cursor]]":
        """The pairs of a mapping whose keys are free."""
        if not isinstance(self.node.value, dict):
            self.expected("a mapping of names")
            return
        for key, entry in self.node.value.items():
            yield key, Cursor(entry.node, child(self.path, key), entry.key, self.log)

    def mapping(self, read: "Callable[[Cursor], T]") -> dict[str, T]:
        """A mapping with free keys, each value read by `read`."""
        return {key: read(value) for key, value in self.entries()}

    def fields(
        self, required: Sequence[str] = (), optional: Sequence[str] = (), **hints: str
    ) -> "Fields":
        """A mapping with fixed keys. `hints` says what to do about well-known wrong keys."""
        if not isinstance(self.node.value, dict):
            self.expected(f"a mapping with {_listed([*required, *optional])}")
            return Fields({}, self)
        known = [*required, *optional]
        entries = dict(self.entries())
        for key, value in entries.items():
            if key not in known:
                self._unknown(key, value.key, known, hints.get(key, ""))
        for key in required:
            if key not in entries:
                self._missing(key)
        return Fields(entries, self)

    def _unknown(self, key: str, position: Position, known: Sequence[str], hint: str) -> None:
        self.log.add(
            self.path,
            position,
            f"{self.name} has no key `{key}`",
            hint or f"it may have {_listed(known)}",
            spoils=child(self.path, key),
        )

    def _missing(self, key: str) -> None:
        self.log.add(
            self.path,
            self.key,
            f"{self.name} needs the key `{key}`",
            f"add {key}: below it" if self.path else f"add {key}: at the left margin",
            spoils=child(self.path, key),
        )


class Fields:
    """The fixed keys of a mapping."""

    def __init__(self, entries: dict[str, Cursor], owner: Cursor) -> None:
        self._entries = entries
        self._owner = owner

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Cursor:
        """A required value. One that is missing has been reported and reads as a placeholder."""
        found = self._entries.get(key)
        return found or Cursor(Node(None, START), child(self._owner.path, key), START, Log())

    def maybe(self, key: str, read: Callable[[Cursor], T]) -> T | None:
        """An optional value, `None` when its key is absent."""
        return read(self._entries[key]) if key in self._entries else None


def _name(path: str) -> str:
    above, _, last = path.rpartition("/")
    if last.isdecimal():
        return f"entry {int(last) + 1} of {_name(above)}"
    return f"`{last.replace('~1', '/').replace('~0', '~')}`" if last else "the file"


def _listed(keys: Sequence[str]) -> str:
    *first, last = keys
    return f"{', '.join(first)} and {last}" if first else last
