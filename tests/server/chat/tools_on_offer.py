"""Tools that the tests of replies offer, and a way to read a reply in pieces."""

from collections.abc import Iterable

from server.chat.family import Family
from server.chat.parts import Part, joined
from server.chat.reply import ReplyParser
from server.chat.tools import Tool

WEATHER = Tool(
    "get_weather",
    "The weather of a place",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "metric": {"type": "boolean"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "filter": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "required": ["city"],
        "additionalProperties": False,
    },
)
TIME = Tool("get_time", "The time", {"type": "object", "properties": {}})
TOOLS = (WEATHER, TIME)


def read(
    family: Family,
    pieces: Iterable[str],
    *,
    tools: Iterable[Tool] = TOOLS,
    is_thinking: bool = False,
    expects_thinking: bool = True,
) -> list[Part]:
    """The parts of a reply that comes in these pieces, neighbours joined."""
    parser = ReplyParser(
        family, tools=tuple(tools), is_thinking=is_thinking, expects_thinking=expects_thinking
    )
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return joined([*parts, *parser.finish()])
