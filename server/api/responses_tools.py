"""The tools of OpenAI's Responses: functions, and custom tools that get a text."""

from collections.abc import Sequence

from server.api import custom_tools, openai_tools
from server.api import responses_types as wire
from server.api.functions import Function, ToolDefinition
from server.api.openai_errors import InvalidField
from server.api.requests import ToolUse
from server.errors import Unsupported


def tool_use(body: wire.ResponsesRequest) -> ToolUse:
    """What may be called. Raises `InvalidField`, `Unsupported`, `PayloadTooLarge`."""
    definitions = [_definition(f"tools[{at}]", tool) for at, tool in enumerate(body.tools)]
    return openai_tools.checked(definitions, body.tool_choice, is_parallel=body.parallel_tool_calls)


def shown(tools: Sequence[wire.ToolParam]) -> list[wire.ShownTool]:
    """The tools as a reply repeats them."""
    return [_shown(tool) for tool in tools]


def custom_names(tools: Sequence[wire.ShownTool]) -> frozenset[str]:
    """The names of those that get a text."""
    return frozenset(tool.name for tool in tools if isinstance(tool, wire.ShownCustom))


def _definition(where: str, tool: wire.ToolParam) -> ToolDefinition:
    if tool.type == "custom":
        function = custom_tools.as_function(where, tool.name, tool.description, tool.format)
        return ToolDefinition(function=function)
    if tool.type != "function":
        raise Unsupported(
            f"{where}: this server has no tool of type '{tool.type}'",
            hint="leave it out, or describe a function of your own",
        )
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
