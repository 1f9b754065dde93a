"""The items of OpenAI's Responses API as messages of the core."""

from typing import Any

import msgspec
import pytest

from server.api import responses_types as wire
from server.api.responses_input import messages
from server.chat.messages import Message


def read(given: Any, **body: Any) -> list[Message]:
    return list(messages(msgspec.convert({"input": given, **body}, wire.ResponsesRequest)))


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


USER = Message(role="user", content="hi")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            [
                {"type": "custom_tool_call", "call_id": "1", "name": "note", "input": "a b"},
                {"type": "custom_tool_call_output", "call_id": "1", "output": "noted"},
            ],
            [
                Message(role="assistant", tool_calls=(call("1", "note", input="a b"),)),
                Message(role="tool", content="noted", tool_name="note", tool_call_id="1"),
            ],
        ),
        ("hi", [USER]),
        ([{"role": "user", "content": "hi"}], [USER]),
        ([{"type": "message", "role": "user", "content": "hi"}], [USER]),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "a"},
                        {"type": "input_image", "image_url": "data:image/png;base64,cA=="},
                        {"type": "input_image", "image_url": "data:;base64,cQ=="},
                        {"type": "input_text", "text": "b"},
                    ],
                }
            ],
            [Message(role="user", content="a\nb", images=(b"p", b"q"))],
        ),
        (
            [
                {"role": "developer", "content": "one"},
                {"role": "system", "content": "two"},
                {"role": "user", "content": "hi"},
            ],
            [Message(role="system", content="one\ntwo"), USER],
        ),
        (
            [
                {"role": "user", "content": "hi"},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                },
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "wait", "annotations": []}],
                },
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"x":1}'},
                {"type": "function_call", "call_id": "2", "name": "g", "arguments": ""},
                {"type": "function_call_output", "call_id": "2", "output": "two"},
                {
                    "type": "function_call_output",
                    "call_id": "1",
                    "output": [{"type": "input_text", "text": "one"}],
                },
            ],
            [
                USER,
                Message(
                    role="assistant",
                    content="wait",
                    thinking="hm",
                    tool_calls=(call("1", "f", x=1), call("2", "g")),
                ),
                Message(role="tool", content="two", tool_name="g", tool_call_id="2"),
                Message(role="tool", content="one", tool_name="f", tool_call_id="1"),
            ],
        ),
        (
            [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "short"}],
                    "content": [{"type": "reasoning_text", "text": "long"}],
                },
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            ],
            [Message(role="assistant", content="no", thinking="long")],
        ),
    ],
    ids=[
        "a custom tool gets a text",
        "a text",
        "a message without a type",
        "a message",
        "texts and images",
        "developers speak for the system",
        "what the assistant does in a row is one turn",
        "a thought told whole, and a refusal",
    ],
)
def test_items(given: Any, expected: list[Message]) -> None:
    assert read(given) == expected


def test_instructions_come_first() -> None:
    found = read([{"role": "developer", "content": "b"}], instructions="a")
    assert found == [Message(role="system", content="a\nb")]
