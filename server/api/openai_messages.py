"""OpenAI's messages as those of the core."""

from collections.abc import Sequence
from typing import Any

import msgspec

from server import limits
from server.api import custom_tools
from server.api.openai_errors import InvalidField
from server.api.openai_images import image
from server.api.openai_types import ChatMessage, Part, PastCall, PastFunction
from server.chat import messages as chat
from server.errors import Unsupported

# Roles of the wire -> roles that chat templates know.
_ROLES = {
    "system": chat.SYSTEM,
    "developer": chat.SYSTEM,
    "user": chat.USER,
    "assistant": chat.ASSISTANT,
    "tool": "tool",
    "function": "tool",
}


def conversation(messages: Sequence[ChatMessage] | None) -> tuple[chat.Message, ...]:
    """The messages, in their order. Raises `InvalidField`, `Unsupported`, `PayloadTooLarge`."""
    if not messages:
        raise InvalidField("messages", "[] is too short - 'messages'")
    limits.check_count("messages", messages, limits.MAX_MESSAGES)
    names: dict[str, str] = {}
    return tuple(_message(message, f"messages[{at}]", names) for at, message in enumerate(messages))


def image_characters(messages: Sequence[ChatMessage] | None) -> int:
    """How much of the messages are images, which take time to read."""
    parts = [part for message in messages or () for part in _parts(message)]
    urls = [part.image_url for part in parts if part.image_url is not None]
    return sum(len(url if isinstance(url, str) else url.url) for url in urls)


def _parts(message: ChatMessage) -> Sequence[Part]:
    return message.content if isinstance(message.content, list) else ()


def _message(message: ChatMessage, where: str, names: dict[str, str]) -> chat.Message:
    """One message. `names` are those of the functions called so far, by the calls' ids."""
    role = _ROLES.get(message.role)
    if role is None:
        known = ", ".join(_ROLES)
        raise InvalidField(f"{where}.role", f"{where}.role must be one of {known}")
    text, images = _content(message, f"{where}.content")
    call_id = message.tool_call_id or ""
    tool_name = (message.name or names.get(call_id, "")) if role == "tool" else ""
    return chat.Message(
        role=role,
        content=text,
        thinking=message.reasoning or message.reasoning_content or "",
        images=images,
        tool_calls=_calls(message, where, names),
        tool_name=tool_name,
        tool_call_id=call_id,
    )


def _content(message: ChatMessage, where: str) -> tuple[str, tuple[bytes, ...]]:
    """Text and images. The texts of several parts stand on lines of their own."""
    if message.content is None:
        if message.role == "assistant":
            return "", ()
        raise InvalidField(where, "invalid message content type: <nil>")
    if isinstance(message.content, str):
        return message.content, ()
    texts: list[str] = []
    images: list[bytes] = []
    for at, part in enumerate(message.content):
        match _part(part, f"{where}[{at}]"):
            case str(text):
                texts.append(text)
            case bytes(data):
                images.append(data)
    return "\n".join(texts), tuple(images)


def _part(part: Part, where: str) -> str | bytes:
    match part.type:
        case "text" | "refusal":
            text = part.text if part.type == "text" else part.refusal
            if text is None:
                raise InvalidField(where, f"{where}.{part.type} is required")
            return text
        case "image_url":
            if part.image_url is None:
                raise InvalidField(where, f"{where}.image_url is required")
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            return image(url, f"{where}.image_url")
        case "input_audio":
            raise Unsupported("audio input is not supported")
        case "file":
            raise Unsupported("file inputs are not currently supported")
        case other:
            raise InvalidField(f"{where}.type", f"{where}.type {other[:64]!r} is not supported")


def _calls(message: ChatMessage, where: str, names: dict[str, str]) -> tuple[dict[str, Any], ...]:
    """The calls of an assistant's message as chat templates expect them."""
    found = []
    for at, call in enumerate(message.tool_calls or ()):
        function = _called(call, f"{where}.tool_calls[{at}]")
        names[call.id] = function["name"]
        found.append({"id": call.id, "type": "function", "function": function})
    if message.function_call is not None:
        function = _function(message.function_call, f"{where}.function_call")
        found.append({"type": "function", "function": function})
    return tuple(found)


def _called(call: PastCall, where: str) -> dict[str, Any]:
    if call.custom is not None:
        arguments = custom_tools.arguments_of(call.custom.input)
        return {"name": call.custom.name, "arguments": arguments}
    if call.function is None:
        raise InvalidField(f"{where}.function", f"{where}.function is required")
    return _function(call.function, f"{where}.function")


def _function(function: PastFunction, where: str) -> dict[str, Any]:
    arguments: Any = function.arguments or {}
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise InvalidField(f"{where}.arguments", f"{where}.arguments must be a JSON object")
    return {"name": function.name, "arguments": arguments}
