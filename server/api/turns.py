"""What one side says in a row is one turn.

Anthropic and OpenAI's Responses send a turn in pieces (a thought, a text, a call), and many
chat templates refuse two turns of the same side in a row. Pure.
"""

from collections.abc import Iterable
from typing import Any

from server.chat.messages import ASSISTANT, Message

TOOL = "tool"


def joined(texts: Iterable[str]) -> str:
    """Texts one below the other; empty ones are left out."""
    return "\n".join(text for text in texts if text)


def merged(pieces: Iterable[Message]) -> tuple[Message, ...]:
    """The turns that the pieces make. The results of tools stay messages of their own."""
    turns: list[Message] = []
    for piece in pieces:
        if turns and turns[-1].role == piece.role != TOOL:
            turns[-1] = _both(turns[-1], piece)
        else:
            turns.append(piece)
    return tuple(turns)


def call(call_id: str, name: str, arguments: dict[str, Any]) -> Message:
    """The piece of the assistant's turn that calls a function."""
    function = {"name": name, "arguments": arguments}
    return Message(
        role=ASSISTANT, tool_calls=({"id": call_id, "type": "function", "function": function},)
    )


def _both(one: Message, other: Message) -> Message:
    return Message(
        role=one.role,
        content=joined((one.content, other.content)),
        thinking=joined((one.thinking, other.thinking)),
        images=(*one.images, *other.images),
        tool_calls=(*one.tool_calls, *other.tool_calls),
    )
