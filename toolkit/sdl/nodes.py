"""YAML text to a tree of nodes that know where they stand.

The tree is built from the parser's events, under a budget of size, depth and aliases: the C
parser survives any input event by event, while composing a deeply nested document with it
ends the process. Duplicate keys are errors, merge keys (`<<`) are applied, and plain scalars
mean what YAML 1.2 says.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import yaml

from toolkit.sdl.problems import START, Position
from toolkit.sdl.scalars import TAG, Scalar, Timestamp, resolve, resolve_tagged, value_text

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
# Nodes counted as often as aliases repeat them.
MAX_NODES: Final = 50_000


class Node(msgspec.Struct):
    """One value of the file. `weight` counts the nodes below it, aliases expanded."""

    value: "Scalar | list[Node] | dict[str, Entry]"
    position: Position
    weight: int = 1


class Entry(msgspec.Struct):
    """One key of a mapping with its value."""

    key: Position
    node: Node
    is_merged: bool = False


class MalformedYAML(Exception):
    """The text is not the YAML of one document."""

    def __init__(self, message: str, position: Position = START, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint


def load(text: str | bytes) -> Node:
    """The tree of the only document in `text`; MalformedYAML says what is wrong and where."""
    try:
        return _Builder(yaml.parse(_decoded(text), Loader=yaml.CSafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except yaml.YAMLError as error:
        raise MalformedYAML(
            f"the file holds a character that YAML does not allow: {_first_line(error)}"
        ) from None


def values(node: Node) -> Any:
    """A tree as plain mappings, lists and values; dates are text."""
    if isinstance(node.value, dict):
        return {key: values(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [values(item) for item in node.value]
    return node.value.text if isinstance(node.value, Timestamp) else node.value


def find(root: Node, pointer: str) -> tuple[Position, Node]:
    """Where `pointer` (or its nearest ancestor that exists) stands, and its node.

    A scalar stands at itself, a mapping or a list at the key that names it.
    """
    position, node = root.position, root
    for part in pointer.split("/")[1:]:
        step = _step(node, part.replace("~1", "/").replace("~0", "~"))
        if step is None:
            break
        key, node = step
        position = key if isinstance(node.value, list | dict) else node.position
    return position, node


def _step(node: Node, key: str) -> tuple[Position, Node] | None:
    if isinstance(node.value, dict) and key in node.value:
        entry = node.value[key]
        return entry.key, entry.node
    if isinstance(node.value, list) and key.isdecimal() and int(key[:9]) < len(node.value):
        item = node.value[int(key)]
        return item.position, item
    return None


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        raise MalformedYAML(
            f"the file is larger than {MAX_BYTES >> 20} MiB", hint="an SDL is a few kilobytes"
        )
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        decoded.encode()
    except UnicodeError as error:
        raise MalformedYAML(
            f"the file is not UTF-8 text: {error.reason}"
            if isinstance(error, UnicodeDecodeError)
            else "the file is not UTF-8 text",
            hint="save it as UTF-8",
        ) from None
    return decoded.removeprefix("\ufeff")


def _syntax_error(error: yaml.MarkedYAMLError) -> MalformedYAML:
    mark = error.problem_mark or error.context_mark
    begun = f" begun on line {error.context_mark.line + 1}" if error.context_mark else ""
    context = f"{error.context}{begun}" if error.context else ""
    what = ", ".join(part for part in (context, error.problem) if part)
    return MalformedYAML(
        f"not valid YAML: {what}",
        Position(mark.line + 1, mark.column + 1) if mark else START,
        "look at the indentation, quotes and colons here and on the line above",
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


class _Builder:
    """Turns the events of one document into a tree."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._num_nodes = 0

    def document(self) -> Node:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise MalformedYAML("the file is empty", hint='an SDL begins with version: "2.0"')
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise MalformedYAML(
                "the file holds more than one YAML document",
                _position(event),
                "remove everything from this --- on; an SDL is one document",
            )
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        position = _position(event)
        if depth > MAX_DEPTH:
            raise MalformedYAML(f"nested more than {MAX_DEPTH} levels deep", position)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, position)
        node = self._content(event, position, depth)
        self._count(1, position)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _content(self, event: yaml.Event, position: Position, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Node(_scalar(event, position), position)
        if isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event.tag, "seq", position)
            return self._sequence(position, depth)
        _check_tag(getattr(event, "tag", None), "map", position)
        return self._mapping(position, depth)

    def _alias(self, event: yaml.AliasEvent, position: Position) -> Node:
        target = self._anchors.get(event.anchor or "")
        if target is None:
            raise MalformedYAML(
                f"*{event.anchor} refers to an anchor that is not complete above it",
                position,
                f"define it with &{event.anchor} before this line",
            )
        self._count(target.weight, position)
        return target

    def _count(self, weight: int, position: Position) -> None:
        self._num_nodes += weight
        if self._num_nodes > MAX_NODES:
            raise MalformedYAML(
                f"more than {MAX_NODES:,} values once aliases are expanded", position
            )

    def _sequence(self, position: Position, depth: int) -> Node:
        items: list[Node] = []
        weight = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event, depth + 1)
            items.append(item)
            weight += item.weight
        return Node(items, position, weight)

    def _mapping(self, position: Position, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        weight = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, is_merge = self._node(event, depth + 1), _is_merge(event)
            value = self._node(next(self._events), depth + 1)
            weight += key.weight + value.weight
            if is_merge:
                _merge(entries, value, _position(event))
            else:
                _put(entries, _key(key), Entry(_position(event), value))
        return Node(entries, position, weight)


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else START


def _is_merge(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]


def _key(node: Node) -> str:
    if isinstance(node.value, list | dict):
        raise MalformedYAML("a key must be plain text", node.position, "write name: value")
    return value_text(node.value)


def _put(entries: dict[str, Entry], key: str, entry: Entry) -> None:
    earlier = entries.get(key)
    if earlier is not None and not earlier.is_merged:
        raise MalformedYAML(
            f"the key {key!r} is there twice; the first is on line {earlier.key.line}",
            entry.key,
            "remove one of the two",
        )
    entries[key] = entry


def _merge(entries: dict[str, Entry], source: Node, position: Position) -> None:
    sources = source.value if isinstance(source.value, list) else [source]
    for mapping in sources:
        if not isinstance(mapping.value, dict):
            raise MalformedYAML(
                "<< must be followed by a mapping or a list of mappings",
                position,
                "write <<: *name",
            )
        for key, entry in mapping.value.items():
            entries.setdefault(key, Entry(entry.key, entry.node, is_merged=True))


def _scalar(event: yaml.ScalarEvent, position: Position) -> Scalar:
    if event.tag is None:
        return resolve(event.value) if event.implicit[0] else event.value
    try:
        return resolve_tagged(event.value, event.tag)
    except ValueError:
        raise MalformedYAML(
            f"{_short(event.tag)} cannot be read as a tag for this value",
            position,
            "remove the tag",
        ) from None


def _check_tag(tag: str | None, kind: str, position: Position) -> None:
    if tag not in (None, "!", f"{TAG}{kind}"):
        raise MalformedYAML(f"the tag {_short(tag)} is not known here", position, "remove the tag")


def _short(tag: str) -> str:
    return tag.replace(TAG, "!!")


def describe(node: Node) -> str:
    """What a value is, in words, for messages."""
    match node.value:
        case None:
            return "empty"
        case bool():
            return "true" if node.value else "false"
        case int() | float():
            return f"the number {value_text(node.value)}"
        case Timestamp():
            return f"the date {node.value.text}"
        case str():
            return f"the text {_clipped(node.value)}"
        case list():
            return "a list"
    return "a mapping"


def _clipped(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
