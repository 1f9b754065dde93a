"""Anthropic's blocks as messages of the core."""

import base64
from typing import Any

import msgspec
import pytest

from server.api import anthropic_types as wire
from server.api.anthropic_blocks import messages
from server.chat.messages import Message

IMAGE = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(b"p").decode(),
    },
}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def turn(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def read(*turns: dict[str, Any], **body: Any) -> tuple[Message, ...]:
    return messages(msgspec.convert({"messages": turns, **body}, wire.CountRequest))


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([turn("user", text("a"), text("b"))], [Message(role="user", content="a\nb")]),
        (
            [{"role": "user", "content": "a"}, turn("user", text("b"))],
            [Message(role="user", content="a\nb")],
        ),
        (
            [turn("user", text("a"), IMAGE, text("b"), IMAGE)],
            [Message(role="user", content="a\nb", images=(b"p", b"p"))],
        ),
        (
            [
                turn(
                    "assistant",
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    text("a"),
                    use("1", "f", x=1),
                    use("2", "g"),
                )
            ],
            [
                Message(
                    role="assistant",
                    content="a",
                    thinking="hm",
                    tool_calls=(call("1", "f", x=1), call("2", "g")),
                )
            ],
        ),
        (
            [
                turn("assistant", use("1", "f"), use("2", "g")),
                turn(
                    "user",
                    {"type": "tool_result", "tool_use_id": "2", "content": "two"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "1",
                        "content": [text("one"), text("1"), IMAGE],
                        "is_error": True,
                    },
                    text("and?"),
                ),
            ],
            [
                Message(role="assistant", tool_calls=(call("1", "f"), call("2", "g"))),
                Message(role="tool", content="two", tool_name="g", tool_call_id="2"),
                Message(
                    role="tool",
                    content="Error: one\n1",
                    images=(b"p",),
                    tool_name="f",
                    tool_call_id="1",
                ),
                Message(role="user", content="and?"),
            ],
        ),
        (
            [turn("user", {"type": "tool_result", "tool_use_id": "of before"})],
            [Message(role="tool", tool_call_id="of before")],
        ),
        (
            [
                turn(
                    "user",
                    {
                        "type": "document",
                        "title": "T",
                        "context": "C",
                        "source": {"type": "text", "media_type": "text/plain", "data": "D"},
                    },
                    {"type": "document", "source": {"type": "content", "content": [text("E")]}},
                    {
                        "type": "search_result",
                        "title": "R",
                        "source": "S",
                        "content": [text("U")],
                    },
                )
            ],
            [Message(role="user", content="T\nC\nD\nE\nR\nS\nU")],
        ),
        (
            [turn("user", text("a")), {"role": "system", "content": "now"}],
            [Message(role="user", content="a"), Message(role="system", content="now")],
        ),
    ],
    ids=[
        "blocks of text",
        "turns of one side in a row",
        "images",
        "what the assistant does",
        "results in any order",
        "a result without its call",
        "documents",
        "a system turn in between",
    ],
)
def test_turns(turns: list[dict[str, Any]], expected: list[Message]) -> None:
    assert list(read(*turns)) == expected


@pytest.mark.parametrize("system", ["a\nb", [text("a"), text("b")]])
def test_the_system_text_comes_first(system: Any) -> None:
    found = read(turn("user", text("x")), system=system)
    assert found[0] == Message(role="system", content="a\nb")
    assert len(found) == 2
