"""The tools of a chat body: `tools`, or `functions` as OpenAI had them before."""

import re
from collections.abc import Sequence
from typing import Any

from server.api import custom_tools, functions
from server.api.functions import ToolDefinition
from server.api.openai_errors import InvalidField
from server.api.openai_types import ChatBody, ChatTool
from server.api.requests import ToolUse
from server.errors import InvalidRequest

_FIELD = re.compile(r"(?:tools|tool_choice)[\w.\[\]]*")


def tool_use(body: ChatBody) -> ToolUse:
    """What may be called. Raises `InvalidField`, `PayloadTooLarge`."""
    if body.functions is not None and body.tools is not None:
        raise InvalidField("functions", "functions and tools cannot both be given")
    if is_legacy(body):
        tools = [ToolDefinition(function=one) for one in body.functions or ()]
        choice = _legacy_choice(body.function_call)
        return checked(tools, choice, is_parallel=False, choice_name="function_call")
    tools = [_definition(one, f"tools[{at}]") for at, one in enumerate(body.tools or ())]
    return checked(tools, body.tool_choice, is_parallel=body.parallel_tool_calls is not False)


def custom_names(body: ChatBody) -> frozenset[str]:
    """The names of the custom tools."""
    return frozenset(
        tool.custom.name for tool in body.tools or () if tool.type == "custom" and tool.custom
    )


def is_legacy(body: ChatBody) -> bool:
    """Whether the reply says a call as `function_call`."""
    return body.functions is not None


def checked(
    tools: Sequence[ToolDefinition],
    choice: Any,
    *,
    is_parallel: bool,
    choice_name: str = "tool_choice",
) -> ToolUse:
    """`functions.tool_use`, where a mistake names its field."""
    try:
        return functions.tool_use(tools, choice, is_parallel=is_parallel)
    except InvalidRequest as error:
        field = _FIELD.match(error.message)
        param = field[0].replace("tool_choice", choice_name) if field else "tools"
        raise InvalidField(param, error.message) from None


def _definition(tool: ChatTool, where: str) -> ToolDefinition:
    match tool.type:
        case "function":
            return ToolDefinition(function=tool.function)
        case "custom":
            custom, where = tool.custom, f"{where}.custom"
            if custom is None:
                raise InvalidField(where, f"{where} is required")
            made = custom_tools.as_function(where, custom.name, custom.description, custom.format)
            return ToolDefinition(function=made)
    raise InvalidField(f"{where}.type", f"{where}.type must be 'function' or 'custom'")


def _legacy_choice(value: Any) -> Any:
    match value:
        case {"name": str(name)}:
            return {"type": "function", "name": name}
        case _:
            return value
