"""Functions and the choice between them, in the form that OpenAI's and Ollama's bodies share."""

from collections.abc import Mapping, Sequence
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
    """The functions of a body and its `tool_choice`. Raises `InvalidRequest`, whose message
    begins with the field that it is about."""
    limits.check_count("tools", tools, limits.MAX_TOOLS)
    found = tuple(_tool(at, one) for at, one in enumerate(tools))
    names = [tool.name for tool in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"tools: the name {twice!r} is used twice")
    if (allowed := _allowed(choice)) is not None:
        found, choice = _narrowed(found, *allowed)
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
    if name := _name_in(value):
        return "required", name
    raise InvalidRequest(
        "tool_choice must be 'auto', 'none', 'required' or "
        '{"type": "function", "function": {"name": "…"}}'
    )


def _name_in(reference: Any) -> str:
    """The name of the tool that a body points to; empty if that is no pointer."""
    match reference:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
        case {"type": "custom", "custom": {"name": str(name)}}:
            return name
        case {"type": "function" | "custom", "name": str(name)}:
            return name
    return ""


def _allowed(choice: Any) -> tuple[str, Mapping[str, Any]] | None:
    """The field of a choice among some tools only, and what it says: OpenAI's chats have it
    one level deeper than its Responses."""
    match choice:
        case {"type": "allowed_tools", "allowed_tools": dict(inner)}:
            return "tool_choice.allowed_tools", inner
        case {"type": "allowed_tools"}:
            return "tool_choice", choice
    return None


def _narrowed(
    tools: Sequence[Tool], where: str, allowed: Mapping[str, Any]
) -> tuple[tuple[Tool, ...], Choice]:
    """Those of the tools that are allowed, and the choice between them."""
    mode, references = allowed.get("mode"), allowed.get("tools")
    if mode not in ("auto", "required"):
        raise InvalidRequest(f"{where}.mode must be 'auto' or 'required'")
    if not isinstance(references, list) or not references:
        raise InvalidRequest(f"{where}.tools must name at least one tool")
    known, names = {tool.name for tool in tools}, set()
    for at, reference in enumerate(references):
        name = _name_in(reference)
        if not name:
            raise InvalidRequest(f"{where}.tools[{at}] must have a type and the name of a tool")
        if name not in known:
            raise InvalidRequest(f"{where}.tools[{at}]: there is no tool {name[:64]!r}")
        names.add(name)
    return tuple(tool for tool in tools if tool.name in names), mode
