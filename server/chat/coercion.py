"""Text that a model wrote for an argument becomes what the tool's schema says it is."""

from typing import Any

from server.chat.values import NotReadable, read_json

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}


def coerce(text: str, schema: Any) -> Any:
    """The value that `text` stands for under the schema; the text itself where the schema
    allows text only, says nothing, or is not met."""
    kinds = types_of(schema)
    if not kinds or kinds == ["string"]:
        return text
    try:
        value = read_json(text.lower() if text.lower() in ("true", "false") else text)
    except NotReadable:
        return text
    return value if any(_is(value, kind) for kind in kinds) else text


def types_of(schema: Any) -> list[str]:
    """The names of the types that a schema allows."""
    if not isinstance(schema, dict):
        return []
    types = schema.get("type")
    if isinstance(types, str):
        return [types]
    if isinstance(types, list):
        return [kind for kind in types if isinstance(kind, str)]
    choices = [c for key in ("anyOf", "oneOf") for c in _list(schema.get(key))]
    return [c["type"] for c in choices if isinstance(c, dict) and isinstance(c.get("type"), str)]


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS.get(kind, ()))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
