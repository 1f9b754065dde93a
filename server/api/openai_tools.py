"""The functions of a chat body: `tools`, or `functions` as OpenAI had them before."""

from typing import Any

from server.api import functions
from server.api.functions import ToolDefinition
from server.api.openai_errors import InvalidField
from server.api.openai_types import ChatBody
from server.api.requests import ToolUse
from server.errors import InvalidRequest


def tool_use(body: ChatBody) -> ToolUse:
    """What may be called. Raises `InvalidField`, `PayloadTooLarge`."""
    if body.functions is not None and body.tools is not None:
        raise InvalidField("functions", "functions and tools cannot both be given")
    if is_legacy(body):
        tools = [ToolDefinition(function=one) for one in body.functions or ()]
        return _checked(tools, "function_call", _legacy_choice(body.function_call), False)
    is_parallel = body.parallel_tool_calls is not False
    return _checked(body.tools or [], "tool_choice", body.tool_choice, is_parallel)


def is_legacy(body: ChatBody) -> bool:
    """Whether the reply says a call as `function_call`."""
    return body.functions is not None


def _checked(
    tools: list[ToolDefinition], choice_name: str, choice: Any, is_parallel: bool
) -> ToolUse:
    try:
        return functions.tool_use(tools, choice, is_parallel=is_parallel)
    except InvalidRequest as error:
        param = choice_name if error.message.startswith("tool_choice") else "tools"
        raise InvalidField(param, error.message) from None


def _legacy_choice(value: Any) -> Any:
    match value:
        case {"name": str(name)}:
            return {"type": "function", "name": name}
        case _:
            return value
