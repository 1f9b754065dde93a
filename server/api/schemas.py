"""JSON schemas as Ollama reads them: an object has the properties it names and no others.

The standard lets an object have any others unless `additionalProperties` says no, and a
constrained model then makes them up without end. Pure: values in, values out.
"""

from typing import Any

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties"})
# What else may add properties to the same object: then it cannot be closed from here.
_COMPOSITION = frozenset({"anyOf", "oneOf", "allOf", "$ref", "if"})


def closed(schema: Any) -> Any:
    """The schema with `additionalProperties: false` wherever an object names its properties
    and does not say."""
    return _closed(schema, is_part=False)


def _closed(schema: Any, *, is_part: bool) -> Any:
    if not isinstance(schema, dict):
        return schema
    composes = "properties" in schema and not _COMPOSITION.isdisjoint(schema)
    made = {key: _inside(key, value, composes) for key, value in schema.items()}
    if "properties" in made and not (composes or is_part):
        made.setdefault("additionalProperties", False)
    return made


def _inside(key: str, value: Any, composes: bool) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _closed(part, is_part=False) for name, part in value.items()}
    if key in _LISTS and isinstance(value, list):
        is_part = key == "allOf" or (composes and key != "prefixItems")
        return [_closed(part, is_part=is_part) for part in value]
    if key in _SINGLE:
        return _closed(value, is_part=False)
    return value
