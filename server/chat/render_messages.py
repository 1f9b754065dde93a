"""What the HTTP process and a process that renders templates send each other.

Framed as between HTTP process and runner (`server.engine.frames`). One question at a time:
the next one is sent after the answer, so nothing needs an id.
"""

import msgspec

from server.chat.messages import Conversation
from server.chat.template import ChatTemplate
from server.chat.template_facts import TemplateFacts
from server.engine.frames import pack
from server.engine.types import Segment


class Define(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A template that later questions name by its key. Not answered."""

    key: int
    template: ChatTemplate


class Forget(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """No question names this key any more. Not answered."""

    key: int


class Render(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Rendered` or `Failed`."""

    key: int
    conversation: Conversation


class Describe(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Described` or `Failed`."""

    key: int


ToWorker = Define | Forget | Render | Describe


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The process has imported what it needs."""


class Rendered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    segments: list[Segment]


class Described(msgspec.Struct, frozen=True, tag=True, array_like=True):
    facts: TemplateFacts


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`is_broken`: the template itself, whatever the conversation. `is_worn_out`: so is the
    process, which has touched its bound of memory."""

    message: str
    hint: str = ""
    is_broken: bool = False
    is_worn_out: bool = False


FromWorker = Ready | Rendered | Described | Failed

_encoder = msgspec.msgpack.Encoder()
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame. Raises `UnicodeEncodeError`, `OverflowError`, `RecursionError` or
    `TypeError` for values that no message can carry."""
    return pack(_encoder.encode(message))
