"""How a call is to be written, piece by piece: what a grammar is made of, and what tests write."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

from server.chat.coercion import types_of
from server.chat.tools import Tool


@dataclass(frozen=True, slots=True)
class Schema:
    """JSON under a schema."""

    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextUntil:
    """Any text up to and including the first `end`."""

    end: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """Pieces that may be left out."""

    pieces: "tuple[Piece, ...]"


Piece = str | Schema | TextUntil | OneOf | Maybe
Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Spelling:
    """All calls of a reply: `before`, each `call` with `between` in between, `after`.
    `between` None: the form has room for one call only. `fits`: whether the form can name
    a tool and its arguments; else they are written as plain objects."""

    call: Callable[[Tool], Pieces]
    before: str = ""
    between: str | None = ""
    after: str = ""
    fits: Callable[[Tool], bool] = lambda _: True


def arguments_of(tool: Tool) -> Schema:
    """The tool's arguments as one JSON object."""
    return Schema({**tool.parameters, "type": "object"})


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def as_object(tool: Tool, *, name: str = "name", arguments: str = "arguments") -> Pieces:
    """`{"name": …, "arguments": {…}}` under the names that a family uses."""
    head = f"{{{quoted(name)}: {quoted(tool.name)}, {quoted(arguments)}: "
    return (head, arguments_of(tool), "}")


# For tools that do not fit the form of a family that reads objects too.
AS_OBJECTS = Spelling(as_object, between="\n")


def has_python_names(tool: Tool) -> bool:
    """Whether the tool and its parameters can be named in Python."""
    names = (*tool.name.split("."), *tool.properties)
    return all(name.isidentifier() and not iskeyword(name) for name in names)


def raw_values(tool: Tool, opening: Callable[[str], str], closing: str) -> Pieces:
    """Every argument between two texts: text as it is, all else as JSON."""
    pieces: list[Piece] = []
    for name in tool.properties:
        written = (opening(name), *_raw_value(tool, name, closing))
        pieces += written if is_required(tool, name) else (Maybe(written),)
    return tuple(pieces)


def _raw_value(tool: Tool, name: str, closing: str) -> Pieces:
    if is_text(tool, name):
        return (TextUntil(closing),)
    if texts := texts_of(tool.properties[name]):
        return (OneOf(texts), closing)
    return (Schema(parameter(tool, name)), closing)


def parameter(tool: Tool, name: str) -> dict[str, Any]:
    """The schema of one argument, which may refer to definitions of the whole."""
    schema = tool.properties[name]
    own = schema if isinstance(schema, dict) else {}
    shared = ("$defs", "definitions")
    return own | {key: tool.parameters[key] for key in shared if key in tool.parameters}


def is_required(tool: Tool, name: str) -> bool:
    required = tool.parameters.get("required")
    return isinstance(required, list) and name in required


def is_text(tool: Tool, name: str) -> bool:
    """Whether an argument may be any text."""
    schema = tool.properties[name]
    return types_of(schema) in ([], ["string"]) and texts_of(schema) is None


def texts_of(schema: Any) -> tuple[str, ...] | None:
    """The texts that a schema names; None if it names none, or something else too."""
    choices = schema.get("enum") if isinstance(schema, dict) else None
    if isinstance(choices, list) and choices and all(isinstance(c, str) for c in choices):
        return tuple(choices)
    return None


def listed(tool: Tool, write: Callable[[str], Pieces], separator: str = ", ") -> Pieces:
    """Named arguments with separators between them: the required first, then those that
    may be left out."""
    needed = [name for name in tool.properties if is_required(tool, name)]
    free = [name for name in tool.properties if not is_required(tool, name)]
    pieces: list[Piece] = []
    for at, name in enumerate(needed):
        pieces += (separator if at else "", *write(name))
    if needed:
        return (*pieces, *(Maybe((separator, *write(name))) for name in free))
    if not free:
        return ()
    # Without a required one, the first that is there has no separator: offer the first only.
    rest = tuple(Maybe((separator, *write(name))) for name in free[1:])
    return (Maybe((*write(free[0]), *rest)),)
