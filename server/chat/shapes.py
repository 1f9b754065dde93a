"""The forms in which chat templates want messages. They differ in what nothing declares.

A `Shape` says which form; `shaped` gives messages that form. Which one a template wants
is found out by `server.chat.habits`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from server.chat.messages import ASSISTANT, SYSTEM, TOOL, USER, Message

_SHORT_ID = 9


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from a message as OpenAI writes it, with arguments as objects.

    `parts`: content is a list of typed parts. `text_arguments`: the arguments of a call are
    JSON text. `null_content`: a call without text has the content None. `short_ids`: calls
    have ids of nine letters and digits, and so do their results. `fold_system`: system texts
    go in front of the next message of the user. `merge_turns`: neighbours of the same role
    become one. `no_thoughts`: earlier thinking is left out.
    """

    parts: bool = False
    text_arguments: bool = False
    null_content: bool = False
    short_ids: bool = False
    fold_system: bool = False
    merge_turns: bool = False
    no_thoughts: bool = False


def shaped(messages: Sequence[Message], shape: Shape, image: str = "") -> list[dict[str, Any]]:
    """The messages as a template gets them; `image` stands for each image, in front."""
    if shape.fold_system:
        messages = _fold_system(messages)
    if shape.merge_turns:
        messages = _merge_turns(messages)
    if shape.short_ids:
        messages = _number_calls(messages)
    return [_shape_message(message, shape, image) for message in messages]


def _shape_message(message: Message, shape: Shape, image: str) -> dict[str, Any]:
    content: Any = image * len(message.images) + message.content
    if message.tool_calls and not content and shape.null_content:
        content = None
    elif shape.parts:
        content = [{"type": "text", "text": content}]
    found: dict[str, Any] = {"role": message.role, "content": content}
    if message.thinking and not shape.no_thoughts:
        found["reasoning_content"] = found["thinking"] = message.thinking
    if message.tool_calls:
        found["tool_calls"] = [_shape_call(call, shape) for call in message.tool_calls]
    if message.tool_name:
        found["name"] = message.tool_name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    return found


def _shape_call(call: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    function = _function(call)
    arguments = _arguments(function.get("arguments"))
    found: dict[str, Any] = {"type": "function"}
    if call.get("id"):
        found["id"] = call["id"]
    found["function"] = {
        "name": function.get("name", ""),
        "arguments": json.dumps(arguments, ensure_ascii=False)
        if shape.text_arguments
        else arguments,
    }
    return found


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else call


def _arguments(value: Any) -> Any:
    """The object, also of arguments that came as JSON text."""
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value, type=dict[str, Any])
        except msgspec.DecodeError:
            return value
    return {} if value is None else value


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    found: list[Message] = []
    held: list[str] = []
    for message in messages:
        if message.role == SYSTEM:
            held.append(message.content)
            continue
        if message.role == USER and held:
            content = _join([*held, message.content])
            message = msgspec.structs.replace(message, content=content)
            held = []
        found.append(message)
    return [*found, Message(role=USER, content=_join(held))] if held else found


def _merge_turns(messages: Sequence[Message]) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        if found and _may_merge(found[-1], message):
            found[-1] = _merged(found[-1], message)
        else:
            found.append(message)
    return found


def _may_merge(one: Message, other: Message) -> bool:
    return one.role == other.role != TOOL and not (one.tool_calls or other.tool_calls)


def _merged(one: Message, other: Message) -> Message:
    return Message(
        role=one.role,
        content=_join([one.content, other.content]),
        thinking=_join([one.thinking, other.thinking]),
        images=(*one.images, *other.images),
    )


def _number_calls(messages: Sequence[Message]) -> list[Message]:
    """Give every call a short id, and every result that of its call, by order where the
    client gave it none."""
    found: list[Message] = []
    open_ids: list[str] = []
    for at, message in enumerate(messages):
        if message.role == ASSISTANT and message.tool_calls:
            calls = [
                {**call, "id": _short_id(str(call.get("id") or f"{at}.{n}"))}
                for n, call in enumerate(message.tool_calls)
            ]
            open_ids = [call["id"] for call in calls]
            message = msgspec.structs.replace(message, tool_calls=tuple(calls))
        elif message.role == TOOL:
            own = _short_id(message.tool_call_id) if message.tool_call_id else ""
            own = own or (open_ids[0] if open_ids else _short_id(str(at)))
            open_ids = [each for each in open_ids if each != own]
            message = msgspec.structs.replace(message, tool_call_id=own)
        found.append(message)
    return found


def _short_id(own: str) -> str:
    if len(own) == _SHORT_ID and own.isascii() and own.isalnum():
        return own
    return hashlib.sha256(own.encode()).hexdigest()[:_SHORT_ID]


def _join(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text)
