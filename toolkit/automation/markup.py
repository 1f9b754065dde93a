"""HTML as tokens, read in a time that grows with its length whatever it holds.

html5lib reads as browsers do, and so needs time that grows with the square of the elements that
are open, and of the attributes of one; its walk along a tree, with the square of the elements
beside each other. Whoever writes the HTML chooses these.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

from bleach.html5lib_shim import BleachHTMLParser, constants, getTreeWalker

_MOST_SIGNS = 1_000_000
_MOST_TAGS = 200_000  # that begin or end an element
_MOST_ELEMENTS = 100_000
_MOST_ATTRIBUTES = 200
_DEEPEST = 200
# However long, it is one value.
_PICTURE = re.compile(r"data:image/[a-z+.-]+;base64,[a-z0-9+/=]*", re.I)


class TooMuch(ValueError):
    """HTML that is longer, or nested deeper, than can be read in passing."""


def tokens(html: str, *, tags: frozenset[str], limited: bool) -> Iterator[dict[str, Any]]:
    """What html5lib's filters take: a tree, whose elements other than `tags` have left their
    content. Values and text hold no entities. Raises `TooMuch`."""
    if limited and (html.count("<") > _MOST_TAGS or len(_PICTURE.sub("", html)) > _MOST_SIGNS):
        raise TooMuch
    parser = _Parser(_MOST_ELEMENTS if limited else sys.maxsize, tags)
    try:
        tree = parser.parseFragment(html)
    except ValueError as error:  # the number of a character has more digits than Python reads
        raise TooMuch from error
    return iter(_Walker(tree))


class _Parser(BleachHTMLParser):  # type: ignore[misc]  # bleach has no types
    """Gives up where the time would grow with a square."""

    def __init__(self, elements: int, tags: frozenset[str]) -> None:
        super().__init__(tags, strip=True, consume_entities=True, namespaceHTMLElements=False)
        self._elements = elements

    def reset(self) -> None:
        """As it begins: between the making of its tokenizer and the first token."""
        super().reset()
        self.tree.openElements = _Open(self.tree.openElements, self._elements)
        tokenizer = self.tokenizer
        read_name = tokenizer.attributeNameState

        def count_attributes() -> bool:
            if len(tokenizer.currentToken["data"]) > _MOST_ATTRIBUTES:
                raise TooMuch
            return bool(read_name())

        tokenizer.attributeNameState = count_attributes


class _Open(list[Any]):
    """The elements that are open, each of which was added once."""

    def __init__(self, elements: list[Any], most: int) -> None:
        super().__init__(elements)
        self._left = most

    def append(self, element: Any) -> None:
        self._left -= 1
        if self._left < 0 or len(self) >= _DEEPEST:
            raise TooMuch
        super().append(element)


class _Walker(getTreeWalker("etree")):  # type: ignore[misc]  # bleach has no types
    """Does not look up each element among those beside it. Leaves out comments."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.text(self.tree.text or "")
        waiting: list[Any] = [*reversed(self.tree)]  # elements, ends of elements and texts
        while waiting:
            match waiting.pop():
                case str() as text:
                    yield from self.text(text)
                case dict() as end:
                    yield end
                case element:
                    waiting.append(element.tail or "")
                    if isinstance(element.tag, str):
                        yield from self._began(element, waiting)

    def _began(self, element: Any, waiting: list[Any]) -> Iterator[dict[str, Any]]:
        _, namespace, name, attributes, _ = self.getNodeDetails(element)
        if namespace is None and name in constants.voidElements:
            yield from self.emptyTag(namespace, name, attributes)
            return
        yield self.startTag(namespace, name, attributes)
        waiting += [self.endTag(namespace, name), *reversed(element), element.text or ""]
