"""Functions and the choice between them, in the form that OpenAI's and Ollama's bodies share."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from server import limits
from server.api import gojson
from server.api.requests import ToolUse
from server.chat.tools import Tool
from server.errors import InvalidRequest

Choice = Literal["auto", "none", "required"]


class Function(msgspec.Struct, kw_only=True):
    """`function` of a tool. `parameters` is a JSON schema; `strict` is always so here, when
    a call is forced, and never otherwise."""

    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(msgspec.Struct, kw_only=True):
    """An item of `tools`."""

    type: str = "function"
    function: Function = msgspec.field(default_factory=Function)


def tool_use(
    tools: Sequence[ToolDefinition], choice: Any = None, *, is_parallel: bool = True
) -> ToolUse:
    """The functions of a body and its `tool_choice`. Raises `InvalidRequest`."""
    limits.check_count("tools", tools, limits.MAX_TOOLS)
    found = tuple(_tool(at, one) for at, one in enumerate(tools))
    names = [tool.name for tool in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"tools: the name {twice!r} is used twice")
    kind, name = _choice(choice)
    made = ToolUse(tools=found, choice=kind, name=name, is_parallel=is_parallel)
    if kind == "required" and not made.forced:
        missing = f"tool_choice: there is no tool {name!r}" if name else "tool_choice needs tools"
        raise InvalidRequest(missing)
    return made


def _tool(at: int, one: ToolDefinition) -> Tool:
    if one.type != "function":
        raise InvalidRequest(f"tools[{at}].type must be 'function'")
    function = one.function
    if not function.name:
        raise InvalidRequest(f"tools[{at}].function.name is required")
    schema = function.parameters or {}
    limits.check_schema(schema, gojson.encode(schema))
    return Tool(function.name, function.description or "", schema)


def _choice(value: Any) -> tuple[Choice, str]:
    match value:
        case None | "auto":
            return "auto", ""
        case "none":
            return "none", ""
        case "required" | "any":
            return "required", ""
        case {"type": "function", "function": {"name": str(name)}} if name:
            return "required", name
        case {"type": "function", "name": str(name)} if name:
            return "required", name
    raise InvalidRequest(
        "tool_choice must be 'auto', 'none', 'required' or "
        '{"type": "function", "function": {"name": "…"}}'
    )
