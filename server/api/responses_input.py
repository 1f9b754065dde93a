"""The items of OpenAI's Responses API as messages of the core.

What the assistant thought, said and called in a row is one turn. Nothing is kept between
requests, so an item that only names another cannot be read.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from server import limits
from server.api import custom_tools
from server.api import responses_types as wire
from server.api.openai_images import image
from server.api.turns import TOOL, call, joined, merged
from server.chat.messages import ASSISTANT, SYSTEM, USER, Message
from server.errors import InvalidRequest, Unsupported

_ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM, "developer": SYSTEM}
_TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")
NO_STORE = "nothing is kept between requests"


def messages(body: wire.ResponsesRequest) -> tuple[Message, ...]:
    """The conversation of a body, its instructions in front. Raises `InvalidRequest`."""
    if not isinstance(body.input, str):
        limits.check_count("input items", body.input or (), limits.MAX_MESSAGES)
    return merged(_pieces(body))


def _pieces(body: wire.ResponsesRequest) -> Iterator[Message]:
    if body.instructions:
        yield Message(role=SYSTEM, content=body.instructions)
    if isinstance(body.input, str):
        yield Message(role=USER, content=body.input)
        return
    names: dict[str, str] = {}
    for at, item in enumerate(body.input or ()):
        yield from _item(item, f"input[{at}]", names)


def _item(item: wire.Item, where: str, names: dict[str, str]) -> Iterator[Message]:
    """`names` are those of the tools called so far, by the ids of the calls."""
    match item.type or ("message" if item.role else "item_reference"):
        case "message":
            yield from _message(item, where)
        case "function_call":
            yield _function_call(item, where, names)
        case "custom_tool_call":
            yield _custom_call(item, where, names)
        case "function_call_output" | "custom_tool_call_output":
            yield _call_output(item, where, names)
        case "reasoning":
            yield Message(role=ASSISTANT, thinking=_thought(item, where))
        case "item_reference":
            raise Unsupported(
                f"{where}: there is no item '{item.id}': {NO_STORE}",
                hint="send the item itself",
            )
        case unknown:
            raise Unsupported(f"{where}: items of type '{unknown}' are not supported")


def _message(item: wire.Item, where: str) -> Iterator[Message]:
    role = _ROLES.get(item.role)
    if role is None:
        raise InvalidRequest(f"{where}.role must be one of {', '.join(_ROLES)}")
    yield from _parts(role, item.content, f"{where}.content")


def _parts(role: str, content: str | Sequence[wire.Part], where: str) -> Iterator[Message]:
    if isinstance(content, str):
        yield Message(role=role, content=content)
        return
    for at, part in enumerate(content):
        yield _part(role, part, f"{where}[{at}]")


def _part(role: str, part: wire.Part, where: str) -> Message:
    if part.type in _TEXTS:
        return Message(role=role, content=part.text)
    match part.type:
        case "refusal":
            return Message(role=role, content=part.refusal)
        case "input_image":
            return Message(role=role, images=(image(part.image_url, f"{where}.image_url"),))
        case "input_file":
            raise Unsupported("file inputs are not currently supported", hint="send their text")
    raise Unsupported(f"{where}: content of type '{part.type}' is not supported")


def _function_call(item: wire.Item, where: str, names: dict[str, str]) -> Message:
    return _call(item, where, names, _arguments(item.arguments, where))


def _custom_call(item: wire.Item, where: str, names: dict[str, str]) -> Message:
    return _call(item, where, names, custom_tools.arguments_of(item.input))


def _call(item: wire.Item, where: str, names: dict[str, str], arguments: dict[str, Any]) -> Message:
    if not item.call_id or not item.name:
        raise InvalidRequest(f"{where}: a {item.type} needs call_id and name")
    names[item.call_id] = item.name
    return call(item.call_id, item.name, arguments)


def _arguments(text: str, where: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(f"{where}.arguments must be a JSON object as text") from None


def _call_output(item: wire.Item, where: str, names: dict[str, str]) -> Message:
    if not item.call_id:
        raise InvalidRequest(f"{where}.call_id is required")
    said = merged([Message(role=USER), *_parts(USER, item.output, f"{where}.output")])[0]
    return Message(
        role=TOOL,
        content=said.content,
        images=said.images,
        tool_name=names.get(item.call_id, ""),
        tool_call_id=item.call_id,
    )


def _thought(item: wire.Item, where: str) -> str:
    """The thought itself if it is there, else its summary, which is all that we send."""
    parts = [*_parts(ASSISTANT, item.content, f"{where}.content")]
    told = joined(part.content for part in parts)
    return told or joined(part.text for part in item.summary)
