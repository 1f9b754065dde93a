"""A conversation as the core knows it, whichever dialect it came in."""

from collections.abc import Sequence
from typing import Any

import msgspec

SYSTEM = "system"
USER = "user"
ASSISTANT = "assistant"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `role` is lower case and not checked: the model's template knows its own.

    `tool_calls` are objects `{"function": {"name", "arguments": object}}`.
    """

    role: str
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates expect it: only what is there."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if self.tool_calls:
            message["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_name:
            message["name"] = self.tool_name
        if self.tool_call_id:
            message["tool_call_id"] = self.tool_call_id
        return message


def assemble(
    messages: Sequence[Message], *, system: str = "", examples: Sequence[Message] = ()
) -> tuple[Message, ...]:
    """The conversation with what the model brings along.

    The model's system text counts only if the conversation has none of its own in
    front; its example messages come behind the system text.
    """
    head: tuple[Message, ...] = ()
    rest = tuple(messages)
    if rest and rest[0].role == SYSTEM:
        head, rest = rest[:1], rest[1:]
    elif system:
        head = (Message(role=SYSTEM, content=system),)
    return (*head, *examples, *rest)


def droppable(messages: Sequence[Message]) -> list[int]:
    """Positions of the messages that may go when room is short, oldest first: all but
    the system's and the last."""
    return [at for at, message in enumerate(messages[:-1]) if message.role != SYSTEM]
