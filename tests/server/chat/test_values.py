"""JSON as models write it: what is repaired, and what is not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat.coercion import coerce
from server.chat.pythonic import read_python
from server.chat.tools import Tool
from server.chat.values import NotReadable, read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ("{'a': 'it\\'s \"x\"', 'b': '\\n'}", {"a": 'it\'s "x"', "b": "\n"}),
        ("[True, False, None, true, null]", [True, False, None, True, None]),
        ('{"a": "b\n\tc"}', {"a": "b\n\tc"}),
        ("{'a': 'b\nc'}", {"a": "b\nc"}),
        ("  {}  ", {}),
        ("[-1.5e3, 0]", [-1500.0, 0]),
        ('["\\ud83d\\ude00", "\\ud800"]', ["😀", "\ufffd"]),
    ],
)
def test_mistakes_that_mean_one_thing_are_repaired(text: str, value: Any) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    ("text", "missing", "value"),
    [
        ('{"a": {"b": 1}', 1, {"a": {"b": 1}}),
        ('{"a": ["b"', 2, {"a": ["b"]}),
        ('{"a": 1, ', 1, {"a": 1}),
    ],
)
def test_brackets_may_lack_at_the_end(text: str, missing: int, value: Any) -> None:
    assert read_json(text, missing=missing) == value
    with pytest.raises(NotReadable):
        read_json(text, missing=missing - 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{a: 1}",
        '{"a" 1}',
        '{"a": }',
        '{"a": 1 "b": 2}',
        '{"a": "b}',
        '{"a": 1}}',
        '{"a": 1} {"b": 2}',
        "[1, , 2]",
        "[01]",
        "[1.]",
        "[nul]",
        "[NaN]",
        "[1e999]",
        '["\\x"]',
        "Infinity",
        "[" * 120 + "]" * 120,
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_all_else_is_refused(text: str) -> None:
    with pytest.raises(NotReadable):
        read_json(text)


@settings(deadline=None)
@given(st.text(st.sampled_from("{}[]\"',: \\\nu0ae1.-TrueNone"), max_size=40), st.integers(0, 3))
def test_no_text_breaks_the_reader(text: str, missing: int) -> None:
    try:
        value = read_json(text, missing=missing)
    except NotReadable:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3.5", {"type": "number"}, 3.5),
        ("3.5", {"type": "integer"}, "3.5"),
        ("3", {"type": "string"}, "3"),
        ("3", {}, "3"),
        ("3", None, "3"),
        ("True", {"type": "boolean"}, True),
        ("1", {"type": "boolean"}, "1"),
        ("true", {"type": "integer"}, "true"),
        ("null", {"type": ["string", "null"]}, None),
        ("None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("hi", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "hi"),
        ("['a', 1]", {"type": "array"}, ["a", 1]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ("{a}", {"type": "object"}, "{a}"),
        ("3", {"type": 5, "anyOf": 7}, "3"),
    ],
)
def test_text_becomes_what_the_schema_says(text: str, schema: Any, value: Any) -> None:
    found = coerce(text, schema)
    assert found == value
    assert type(found) is type(value)


def test_python_is_read_and_never_run() -> None:
    [written] = read_python("a.b('x', [1, -2.5], k={'y': (True, None)}, z=true)")
    assert written.name == "a.b"
    assert written.positional == ["x", [1, -2.5]]
    assert written.named == {"k": {"y": [True, None]}, "z": True}


@pytest.mark.parametrize(
    "text",
    [
        "f(",
        "f(x)",
        "f(__import__('os'))",
        "f(*[1])",
        "f(**{})",
        "f()()",
        "f[0]()",
        "(lambda: 1)()",
        "import os",
        "def f(): pass",
        "x: int",
        "f({1: 2})",
        "f(1 + 1)",
        "f(" + "[" * 150 + "]" * 150 + ")",
        "f('" + "a" * 200_000 + "')",
        "\0",
    ],
)
def test_other_python_is_refused(text: str) -> None:
    with pytest.raises(NotReadable):
        read_python(text)


def test_a_tool_is_shown_to_templates_in_the_order_of_the_caller() -> None:
    parameters = {"required": ["b"], "type": "object", "properties": {"b": {}, "a": {}}}
    shown = Tool("f", "does it", parameters).for_template()
    assert json.dumps(shown) == json.dumps(
        {
            "type": "function",
            "function": {"name": "f", "description": "does it", "parameters": parameters},
        }
    )


@pytest.mark.parametrize(
    "parameters", [{}, {"type": "object"}, {"type": "object", "properties": 3}]
)
def test_what_templates_do_not_ask_for_is_there(parameters: dict[str, Any]) -> None:
    assert Tool("f", "", parameters).for_template()["function"] == {
        "name": "f",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


@pytest.mark.parametrize(
    "parameters", [{}, {"properties": 3}, {"properties": {"a": {"$ref": "#/x/y"}}}, {"$defs": 1}]
)
def test_any_schema_has_properties(parameters: dict[str, Any]) -> None:
    assert set(Tool("f", "", parameters).properties) <= {"a"}
