"""What a reply is made of once it is read: content, thoughts and calls of tools."""

from collections.abc import Iterable

import msgspec

from server.chat.tools import ToolCall


class Content(msgspec.Struct, frozen=True):
    """Text for the reader."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """Text of the model's thinking, without its tags."""

    text: str


Part = Content | Thought | ToolCall


def joined(parts: Iterable[Part]) -> list[Part]:
    """The parts with neighbours of one kind made one, and nothing empty."""
    found: list[Part] = []
    texts: list[str] = []
    kind: type[Content | Thought] = Content
    for part in parts:
        if not isinstance(part, ToolCall) and isinstance(part, kind):
            texts.append(part.text)
            continue
        _close(found, kind, texts)
        if isinstance(part, ToolCall):
            found.append(part)
        else:
            kind, texts = type(part), [part.text]
    _close(found, kind, texts)
    return found


def _close(found: list[Part], kind: type[Content | Thought], texts: list[str]) -> None:
    text = "".join(texts)
    texts.clear()
    if text:
        found.append(kind(text))
