"""A call that must be made. Ollama knows no `tool_choice`, but it can hold a reply to a schema.

So the functions stand in the system text instead of `tools`, the reply is held to the JSON of
one call, and that is read as the call. The model does not see the functions in the form that it
was trained on; that it makes a call of the right form is certain.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from server.api import gojson
from server.api.requests import ChatRequest, ToolUse
from server.api.schemas import closed
from server.chat.messages import SYSTEM, Message
from server.chat.tools import Tool
from server.engine.types import Grammar
from server.errors import InvalidRequest, Unsupported

# Where a schema keeps what it refers to; that has to stand at the top of the whole.
_PLACES: Final = ("$defs", "definitions")
_ASKED: Final = (
    "You must call exactly one of these functions. Answer with nothing but the JSON of the call: "
    '{"name": "the function", "arguments": {...}}'
)


def as_format(request: ChatRequest) -> ChatRequest:
    """The request for a reply that is the JSON of a call. Raises `InvalidRequest` if there is
    no function to choose, `Unsupported` for schemas that cannot stand in another."""
    tools = request.tool_use.forced
    if not tools:
        raise InvalidRequest(f"tool_choice: there is no tool {request.tool_use.name!r}")
    form = Grammar("schema", gojson.encode(closed(_schema(tools))).decode())
    return msgspec.structs.replace(
        request,
        messages=_told(request, tools),
        tool_use=ToolUse(),
        generation=msgspec.structs.replace(request.generation, format=form),
    )


def _told(request: ChatRequest, tools: Sequence[Tool]) -> tuple[Message, ...]:
    """The conversation with the functions in its system text: Ollama leaves out the model's own
    where there is another."""
    own, rest = request.model.system or "", request.messages
    if rest and rest[0].role == SYSTEM:
        own, rest = rest[0].content, rest[1:]
    functions = [gojson.encode(tool.for_template()["function"]).decode() for tool in tools]
    text = "\n".join([_ASKED, *functions])
    return (Message(role=SYSTEM, content=f"{own}\n\n{text}" if own else text), *rest)


def _schema(tools: Sequence[Tool]) -> dict[str, Any]:
    definitions: dict[str, dict[str, Any]] = {}
    calls = [_call(tool, definitions) for tool in tools]
    return (calls[0] if len(calls) == 1 else {"anyOf": calls}) | definitions


def _call(tool: Tool, definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a call; what its arguments refer to is put to the `definitions`."""
    arguments = {"type": "object"} | tool.parameters
    if stray := next((ref for ref in _references(arguments) if not _is_movable(ref)), None):
        raise Unsupported(f"a forced call of {tool.name}: Ollama cannot follow {stray[:100]!r}")
    for place in _PLACES:
        for name, schema in _map(arguments.pop(place, None)).items():
            if definitions.setdefault(place, {}).setdefault(name, schema) != schema:
                raise Unsupported(f"two functions define {name!r} in different ways")
    return {
        "type": "object",
        "properties": {"name": {"enum": [tool.name]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_movable(reference: str) -> bool:
    return reference.startswith(tuple(f"#/{place}/" for place in _PLACES))


def _references(schema: Any) -> Iterator[str]:
    """What a schema refers to."""
    waiting = [schema]
    while waiting:
        match waiting.pop():
            case dict() as found:
                if isinstance(found.get("$ref"), str):
                    yield found["$ref"]
                waiting += found.values()
            case list() as items:
                waiting += items
