"""Finds out by trial what a chat template expects, once for each template.

Nothing in a template declares in which form it wants its messages, so tiny conversations
with words that occur nowhere else are rendered, and the result is looked at.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jinja2
import msgspec

from server.chat.jinja import TemplateRefused, compile_template
from server.chat.messages import ASSISTANT, SYSTEM, TOOL, USER, Message
from server.chat.shapes import Shape, shaped

FAULTS = (
    TemplateRefused,
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
)

CANARY, FUNCTION, ARGUMENT, VALUE = "zqcanary", "zqfunction", "zqargument", "zqvalue"
PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": FUNCTION,
        "description": FUNCTION,
        "parameters": {"type": "object", "properties": {ARGUMENT: {"type": "string"}}},
    },
}
# What shows that arguments came out as Python writes them, or as text inside of text.
_WRONG = (f"'{ARGUMENT}'", f'\\"{ARGUMENT}')


def probe(source: str, messages: list[Message], shape: Shape, **variables: Any) -> str:
    """The text of a small conversation; empty if the template fails or refuses it."""
    given = {
        "messages": shaped(messages, shape),
        "tools": None,
        "documents": None,
        "bos_token": "",
        "eos_token": "",
        "add_generation_prompt": True,
        **variables,
    }
    try:
        return compile_template(source).render(given)
    except FAULTS:
        return ""


@lru_cache(maxsize=64)
def habits(source: str) -> Shape:
    """The form in which the template wants a conversation that it does not refuse."""
    shape = _content_shape(source)
    shape = msgspec.structs.replace(shape, fold_system=_folds_system(source, shape))
    return _call_shape(source, shape)


def _content_shape(source: str) -> Shape:
    texts, parts = Shape(), Shape(parts=True)
    said = [Message(role=USER, content=CANARY)]
    needs_parts = CANARY not in probe(source, said, texts) and CANARY in probe(source, said, parts)
    return parts if needs_parts else texts


def _folds_system(source: str, shape: Shape) -> bool:
    """Whether system texts are refused or left out, and come through in a user's message."""
    said = [Message(role=SYSTEM, content=CANARY), Message(role=USER, content="x")]
    folded = msgspec.structs.replace(shape, fold_system=True)
    return CANARY not in probe(source, said, shape) and CANARY in probe(source, said, folded)


def _call_shape(source: str, shape: Shape) -> Shape:
    if "tool_calls" not in source:
        return shape
    call = {"id": "call_x", "function": {"name": FUNCTION, "arguments": {ARGUMENT: VALUE}}}
    said = [
        Message(role=USER, content="x"),
        Message(role=ASSISTANT, tool_calls=(call,)),
        Message(role=TOOL, content="x", tool_name=FUNCTION, tool_call_id="call_x"),
    ]
    for tried in _call_shapes(shape):
        text = probe(source, said, tried)
        if FUNCTION in text and ARGUMENT in text and not any(wrong in text for wrong in _WRONG):
            return tried
    return shape


def _call_shapes(shape: Shape) -> Iterator[Shape]:
    for short_ids in (False, True):
        for text_arguments in (False, True):
            for null_content in (False, True):
                yield msgspec.structs.replace(
                    shape,
                    short_ids=short_ids,
                    text_arguments=text_arguments,
                    null_content=null_content,
                )
