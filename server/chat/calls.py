"""Reading one block of text as calls, in each of the notations that models use.

Every reader takes the text of the block, the tools on offer, and whether the block was
ended (else the reply stopped in it). All calls of a block are good, or it is no call:
`NotReadable`.
"""

import re
from typing import Any

from server.chat.coercion import coerce
from server.chat.pythonic import Written, read_python
from server.chat.tools import Offered, ToolCall
from server.chat.values import NotReadable, read_json

_NAMES = ("name", "tool_name", "function", "tool")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_OTHERS = ("id", "type", "index", "tool_call_id", "tool_calls")
_KEYS = frozenset((*_NAMES, *_ARGUMENTS, *_OTHERS))

_JSON_BEGINNING = re.compile(r"\s*(\[\s*)?(\{\s*(([\"'])(\w*)(\4.*)?)?)?", re.DOTALL)
_PYTHON_BEGINNING = re.compile(r"\[\s*([A-Za-z_][\w.]*\s*(\(.*)?)?", re.DOTALL)
_FENCE = re.compile(r"\A\s*```\w*\s*")
_HALF_FENCE = re.compile(r"\s*(`{0,2}|```\w*)")
_PARAMETER = re.compile(r"<parameter=([^>]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_PAIR = re.compile(r"<arg_key>\s*([^<]*?)\s*</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_FUNCTION_NAME = re.compile(r"\s*([^>]+)>")
# More missing brackets than any model forgets.
_MISSING = 8


def may_begin_json(text: str) -> bool:
    """Whether a text may go on to be a call written as JSON, or a list of them."""
    match = _JSON_BEGINNING.fullmatch(text)
    return match is not None and (match[6] is None or match[5] in _KEYS)


def may_begin_fenced(text: str) -> bool:
    """The same, perhaps in a code fence."""
    if _HALF_FENCE.fullmatch(text):
        return True
    return may_begin_json(_FENCE.sub("", text, count=1))


def may_begin_python(text: str) -> bool:
    """Whether a text may go on to be a list of calls in Python's notation."""
    return _PYTHON_BEGINNING.fullmatch(text) is not None


def read_objects(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """`{"name": …, "arguments": {…}}`, or a list of such objects."""
    if is_ended:
        return _calls(read_json(body, missing=_MISSING), offered)
    try:
        return _calls(read_json(body), offered)
    except NotReadable:
        # A reply cut inside the arguments must not become a call with half of them.
        value = read_json(body, missing=1)
        if not _has_arguments(value):
            raise
        return _calls(value, offered)


def read_named(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """A name, then the arguments as JSON: `name{…}`, with `[ARGS]`, `[CALL_ID]…` or a code
    fence between, or `function<｜tool▁sep｜>name`. A list is a list of objects."""
    start = body.find("{")
    if start < 0 or body.lstrip()[:1] in ("[", "{"):
        return read_objects(body, offered, is_ended)
    kind, _, name = body[:start].partition("<｜tool▁sep｜>")
    name = name.partition("```")[0].strip() or kind
    name = name.partition("[CALL_ID]")[0].partition("[ARGS]")[0]
    arguments = body[start:].strip().removesuffix("```")
    return [offered.call(name, read_json(arguments, missing=_MISSING if is_ended else 0))]


def read_xml(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """`name>` and `<parameter=x>` … `</parameter>`; every value is text, which the tool's
    schema makes a number or whatever else it is."""
    head = _FUNCTION_NAME.match(body)
    if head is None or not is_ended:
        raise NotReadable("no whole function")
    tool = offered.find(head[1])
    arguments: dict[str, Any] = {}
    for match in _PARAMETER.finditer(body, head.end()):
        key = match[1].strip()
        arguments[key] = coerce(_without_lines(match[2]), tool.properties.get(key))
    return [offered.call(tool.name, arguments)]


def read_pairs(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """A name, then `<arg_key>` … `</arg_key>` and `<arg_value>` … `</arg_value>` in turn."""
    if not is_ended:
        raise NotReadable("no whole call")
    tool = offered.find(body.partition("<arg_key>")[0])
    arguments = {
        match[1]: coerce(match[2], tool.properties.get(match[1])) for match in _PAIR.finditer(body)
    }
    return [offered.call(tool.name, arguments)]


def read_pythonic(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """`[f(a=1), g()]`."""
    if not is_ended:
        raise NotReadable("no whole list")
    return [_from_python(written, offered) for written in read_python(body)]


def read_listed(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """A list of calls, as objects or in Python's notation."""
    read = read_objects if may_begin_json(body[:64]) else read_pythonic
    return read(body, offered, is_ended)


def read_code(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """Code that calls tools, a line each (`print(f(a=1))` too), or JSON objects."""
    if not is_ended:
        raise NotReadable("no whole code")
    if may_begin_json(body.strip()[:64]):
        return read_objects(body, offered, is_ended)
    calls = [_from_python(written, offered) for written in read_python(body)]
    if not calls:
        raise NotReadable("no call")
    return calls


def read_fenced(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
    """Objects, perhaps in a code fence."""
    return read_objects(
        _FENCE.sub("", body, count=1).strip().removesuffix("```"), offered, is_ended
    )


def _has_arguments(value: Any) -> bool:
    objects = value if isinstance(value, list) else [value]
    return all(isinstance(o, dict) and any(k in o for k in _ARGUMENTS) for o in objects)


def _calls(value: Any, offered: Offered) -> list[ToolCall]:
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    objects = value if isinstance(value, list) else [value]
    if not objects:
        raise NotReadable("no call")
    return [_call(one, offered) for one in objects]


def _call(value: Any, offered: Offered) -> ToolCall:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not value.keys() <= _KEYS:
        raise NotReadable("an object that is no call")
    name = next((value[key] for key in _NAMES if key in value), None)
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    return offered.call(name, arguments)


def _from_python(written: Written, offered: Offered) -> ToolCall:
    """Arguments without a name belong to the parameters in the order of the schema."""
    tool = offered.find(written.name)
    names = [name for name in tool.properties if name not in written.named]
    if len(written.positional) > len(names):
        raise NotReadable("more arguments than parameters")
    by_place = dict(zip(names, written.positional, strict=False))
    return offered.call(tool.name, by_place | written.named)


def _without_lines(text: str) -> str:
    """The value between its two line breaks, which belong to the tags."""
    return text.removeprefix("\n").removesuffix("\n")
