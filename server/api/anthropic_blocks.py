"""Anthropic's turns and their blocks as messages of the core.

Each block becomes a piece of its side's turn, a tool's result a message of its own.
Documents are read where they are text; nothing is ever fetched.
"""

from collections.abc import Iterator, Sequence

from server import limits
from server.api import anthropic_types as wire
from server.api import ollama_fields
from server.api.turns import TOOL, call, joined, merged
from server.chat.messages import ASSISTANT, SYSTEM, USER, Message
from server.errors import InvalidRequest, Unsupported

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ROLES = (USER, ASSISTANT, SYSTEM)
# Blocks that only one side can say.
_SIDES = {
    "thinking": ASSISTANT,
    "redacted_thinking": ASSISTANT,
    "tool_use": ASSISTANT,
    "tool_result": USER,
}


def messages(body: wire.CountRequest) -> tuple[Message, ...]:
    """The conversation of a body with its system text in front. Raises `InvalidRequest`."""
    limits.check_count("messages", body.messages, limits.MAX_MESSAGES)
    return merged(_pieces(body))


def _pieces(body: wire.CountRequest) -> Iterator[Message]:
    if system := _text(body.system, "system"):
        yield Message(role=SYSTEM, content=system)
    names: dict[str, str] = {}
    for number, turn in enumerate(body.messages):
        where = f"messages[{number}]"
        if turn.role not in _ROLES:
            raise InvalidRequest(f"{where}.role must be 'user' or 'assistant'")
        if isinstance(turn.content, str):
            yield Message(role=turn.role, content=turn.content)
            continue
        for at, block in enumerate(turn.content):
            yield _piece(turn.role, block, f"{where}.content[{at}]", names)


def _piece(role: str, block: wire.Block, where: str, names: dict[str, str]) -> Message:
    """`names` are those of the functions called so far, by the ids of the calls."""
    side = _SIDES.get(block.type, role)
    if role != side:
        raise InvalidRequest(f"{where}: only role '{side}' may have blocks of type '{block.type}'")
    match block.type:
        case "thinking":
            return Message(role=role, thinking=block.thinking)
        case "redacted_thinking":  # nobody here can read it
            return Message(role=role)
        case "tool_use":
            return _tool_use(block, where, names)
        case "tool_result":
            return _tool_result(block, where, names)
        case _:
            return _content(role, block, where)


def _tool_use(block: wire.Block, where: str, names: dict[str, str]) -> Message:
    if not block.id or not block.name:
        raise InvalidRequest(f"{where}: a tool_use block needs id and name")
    names[block.id] = block.name
    return call(block.id, block.name, block.input)


def _tool_result(block: wire.Block, where: str, names: dict[str, str]) -> Message:
    if not block.tool_use_id:
        raise InvalidRequest(f"{where}.tool_use_id is required")
    found = _result(block.content, f"{where}.content")
    return Message(
        role=TOOL,
        content="Error: " + found.content if block.is_error else found.content,
        images=found.images,
        tool_name=names.get(block.tool_use_id, ""),
        tool_call_id=block.tool_use_id,
    )


def _result(content: str | Sequence[wire.Part], where: str) -> Message:
    if isinstance(content, str):
        return Message(role=USER, content=content)
    pieces = [_content(USER, part, f"{where}[{at}]") for at, part in enumerate(content)]
    return merged([Message(role=USER), *pieces])[0]


def _content(role: str, part: wire.Part | wire.Block, where: str) -> Message:
    match part.type:
        case "text":
            return Message(role=role, content=part.text)
        case "image":
            return Message(role=role, images=_image(part.source, where))
        case "document":
            texts = (part.title, part.context, _document(part.source, where))
            return Message(role=role, content=joined(texts))
        case "search_result":
            source = part.source if isinstance(part.source, str) else ""
            texts = (part.title, source, _text(part.content, f"{where}.content"))
            return Message(role=role, content=joined(texts))
    raise Unsupported(f"{where}: blocks of type '{part.type}' are not supported")


def _image(source: str | wire.Source, where: str) -> tuple[bytes, ...]:
    kind = "" if isinstance(source, str) else source.type
    if isinstance(source, str) or kind != "base64":
        raise Unsupported(
            f"{where}.source: an image cannot be of type '{kind}': nothing is fetched from here",
            hint="send the image itself, as type base64",
        )
    if source.media_type not in IMAGE_TYPES:
        raise InvalidRequest(f"{where}.source.media_type must be one of {', '.join(IMAGE_TYPES)}")
    return ollama_fields.images([source.data])


def _document(source: str | wire.Source, where: str) -> str:
    kind = "" if isinstance(source, str) else source.type
    if not isinstance(source, str):
        if kind == "text":
            return source.data
        if kind == "content":
            return _text(source.content, f"{where}.source.content")
    raise Unsupported(
        f"{where}.source: a document cannot be of type '{kind}'", hint="send its text, as type text"
    )


def _text(content: str | Sequence[wire.TextPart | wire.Part], where: str) -> str:
    """Text, or blocks of text one below the other."""
    if isinstance(content, str):
        return content
    for at, part in enumerate(content):
        if part.type != "text":
            raise Unsupported(f"{where}[{at}]: only blocks of type 'text' can stand here")
    return joined(part.text for part in content)
