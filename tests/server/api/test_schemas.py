"""Objects of a schema are closed where that cannot change what it means otherwise."""

from typing import Any

import pytest

from server.api.schemas import closed

A: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
CLOSED_A = {**A, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, CLOSED_A),
        ({**A, "additionalProperties": True}, {**A, "additionalProperties": True}),
        ({"type": "object"}, {"type": "object"}),
        ({"items": A}, {"items": CLOSED_A}),
        ({"anyOf": [A, {"type": "null"}]}, {"anyOf": [CLOSED_A, {"type": "null"}]}),
        ({"$defs": {"x": A}, "$ref": "#/$defs/x"}, {"$defs": {"x": CLOSED_A}, "$ref": "#/$defs/x"}),
        ({"allOf": [A, A]}, {"allOf": [A, A]}),
        ({**A, "oneOf": [A]}, {**A, "oneOf": [A]}),
        ({"additionalProperties": A}, {"additionalProperties": CLOSED_A}),
        (
            {"properties": {"properties": A}},
            {"properties": {"properties": CLOSED_A}, "additionalProperties": False},
        ),
        ({"enum": [A], "const": A}, {"enum": [A], "const": A}),
        (True, True),
    ],
)
def test_closing(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected
