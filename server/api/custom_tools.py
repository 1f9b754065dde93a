"""OpenAI's custom tools: what they get is a text, not arguments by a schema.

For a model one is a function with a single argument, because that is the only form of call
that models know. A grammar for the text is refused: how a call spells a text is up to the
family of the model, and so would be what the grammar holds for.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from server.api import gojson
from server.api.functions import Function
from server.api.openai_errors import InvalidField

_ARGUMENT = "input"
_PARAMETERS = {
    "type": "object",
    "properties": {_ARGUMENT: {"type": "string"}},
    "required": [_ARGUMENT],
    "additionalProperties": False,
}


class InputFormat(msgspec.Struct, kw_only=True):
    """`format` of a custom tool, in requests and in replies."""

    type: str = "text"


def as_function(
    where: str, name: str, description: str | None, form: InputFormat | None
) -> Function:
    """The tool as a function. `where` is its place in the body. Raises `InvalidField`."""
    if not name:
        raise InvalidField(f"{where}.name", f"{where}.name is required")
    match form.type if form else "text":
        case "text":
            return Function(name=name, description=description, parameters=_PARAMETERS)
        case "grammar":
            problem = "a grammar for the input of a tool is not supported"
        case _:
            problem = "the type must be 'text'"
    raise InvalidField(
        f"{where}.format",
        f"{where}.format: {problem}",
        hint="leave it out, or describe a function with parameters",
    )


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of the function for a text."""
    return {_ARGUMENT: text}


def text_of(arguments: Mapping[str, Any]) -> str:
    """The text that a call is about. If the model called with other arguments than the one
    that there is, nothing of them is lost: the text is their JSON."""
    said = arguments.get(_ARGUMENT)
    if isinstance(said, str) and len(arguments) == 1:
        return said
    return gojson.encode(arguments).decode()
