"""The tools of OpenAI's Responses: functions, and custom tools that get a text.

Other tools are left out, and are not among those that a reply names: agents declare OpenAI's
own, such as web search, in every request.
"""

from collections.abc import Sequence

from server.api import custom_tools, openai_tools
from server.api import responses_types as wire
from server.api.functions import Function, ToolDefinition
from server.api.openai_errors import InvalidField
from server.api.requests import ToolUse


def tool_use(body: wire.ResponsesRequest) -> ToolUse:
    """What may be called. Raises `InvalidField`, `Unsupported`, `PayloadTooLarge`."""
    where = {f"tools[{at}]": tool for at, tool in enumerate(body.tools)}
    if untyped := next((at for at, tool in where.items() if not tool.type), None):
        raise InvalidField(f"{untyped}.type", f"{untyped}.type is required")
    definitions = [_definition(at, tool) for at, tool in where.items() if _is_taken(tool)]
    return openai_tools.checked(definitions, body.tool_choice, is_parallel=body.parallel_tool_calls)


def shown(tools: Sequence[wire.ToolParam]) -> list[wire.ShownTool]:
    """The tools that are in effect, as a reply repeats them."""
    return [_shown(tool) for tool in tools if _is_taken(tool)]


def custom_names(tools: Sequence[wire.ShownTool]) -> frozenset[str]:
    """The names of those that get a text."""
    return frozenset(tool.name for tool in tools if isinstance(tool, wire.ShownCustom))


def _is_taken(tool: wire.ToolParam) -> bool:
    has_grammar = tool.format is not None and tool.format.type == "grammar"
    return tool.type == "function" or (tool.type == "custom" and not has_grammar)


def _definition(where: str, tool: wire.ToolParam) -> ToolDefinition:
    if tool.type == "custom":
        function = custom_tools.as_function(where, tool.name, tool.description, tool.format)
        return ToolDefinition(function=function)
    if not tool.name:
        raise InvalidField(f"{where}.name", f"{where}.name is required")
    return ToolDefinition(
        function=Function(name=tool.name, description=tool.description, parameters=tool.parameters)
    )


def _shown(tool: wire.ToolParam) -> wire.ShownTool:
    if tool.type == "custom":
        form = tool.format or custom_tools.InputFormat()
        return wire.ShownCustom(name=tool.name, description=tool.description, format=form)
    return wire.ShownFunction(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )
