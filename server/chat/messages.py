"""A conversation as the core knows it, whichever dialect it came in."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

SYSTEM = "system"
USER = "user"
ASSISTANT = "assistant"
TOOL = "tool"

# Where a rendered prompt has an image: a `Segment` of its own, which is special. The same
# characters from a user are not.
IMAGE_MARKER = "<__media__>"

Effort = Literal["low", "medium", "high"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `role` is lower case and not checked: the model's template knows its own.

    `tool_calls` are objects `{"id"?, "function": {"name", "arguments": object}}`.
    """

    role: str
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt is made of.

    `tools` are OpenAI's function definitions. `thinking` None leaves it to the template,
    `effort` counts for templates that know it. With `prefill` a last message of the
    assistant is the beginning of the reply.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    thinking: bool | None = None
    effort: Effort | None = None
    prefill: bool = False

    @property
    def beginning(self) -> Message | None:
        """The message that the reply goes on from, if there is one."""
        last = self.messages[-1] if self.messages else None
        goes_on = self.prefill and last and last.role == ASSISTANT and not last.tool_calls
        return last if goes_on else None

    def without_images(self) -> "Conversation":
        """The same with empty images: a template has to know only where they are."""
        if not any(message.images for message in self.messages):
            return self
        bare = [
            msgspec.structs.replace(message, images=(b"",) * len(message.images))
            for message in self.messages
        ]
        return msgspec.structs.replace(self, messages=tuple(bare))


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
