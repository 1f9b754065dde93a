"""What one side says in a row is one turn.

Anthropic and OpenAI's Responses send a turn in pieces (a thought, a text, a call), and many
chat templates refuse two turns of the same side in a row. Pure.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from typing import Any

from server.chat.messages import ASSISTANT, Message

TOOL = "tool"


def joined(texts: Iterable[str]) -> str:
    """Texts one below the other; empty ones are left out."""
    return "\n".join(text for text in texts if text)


def merged(pieces: Iterable[Message]) -> tuple[Message, ...]:
    """The turns that the pieces make. The results of tools stay messages of their own."""
    turns: list[Message] = []
    for role, group in groupby(pieces, key=lambda piece: piece.role):
        in_a_row = tuple(group)
        turns += in_a_row if role == TOOL else [_turn(role, in_a_row)]
    return tuple(turns)


def call(call_id: str, name: str, arguments: dict[str, Any]) -> Message:
    """The piece of the assistant's turn that calls a function."""
    function = {"name": name, "arguments": arguments}
    return Message(
        role=ASSISTANT, tool_calls=({"id": call_id, "type": "function", "function": function},)
    )


def _turn(role: str, pieces: Sequence[Message]) -> Message:
    return Message(
        role=role,
        content=joined(piece.content for piece in pieces),
        thinking=joined(piece.thinking for piece in pieces),
        images=tuple(chain.from_iterable(piece.images for piece in pieces)),
        tool_calls=tuple(chain.from_iterable(piece.tool_calls for piece in pieces)),
    )
