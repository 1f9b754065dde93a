"""Custom tools as functions with one argument."""

from typing import Any

import pytest
from hypothesis import given, strategies

from server.api import custom_tools
from server.api.custom_tools import InputFormat
from server.api.openai_errors import InvalidField


def test_a_custom_tool_is_a_function_of_a_text() -> None:
    made = custom_tools.as_function("tools[0]", "note", "Writes", InputFormat(type="text"))
    assert (made.name, made.description) == ("note", "Writes")
    assert made.parameters is not None
    assert made.parameters["properties"] == {"input": {"type": "string"}}
    assert made.parameters["required"] == ["input"]


@pytest.mark.parametrize(
    ("name", "form", "param", "message"),
    [
        ("", None, "tools[0].name", "tools[0].name is required"),
        ("f", InputFormat(type="grammar"), "tools[0].format", "a grammar for the input"),
        ("f", InputFormat(type="xml"), "tools[0].format", "the type must be 'text'"),
    ],
)
def test_what_it_cannot_be(name: str, form: InputFormat | None, param: str, message: str) -> None:
    with pytest.raises(InvalidField, match=message.replace("[", r"\[")) as refused:
        custom_tools.as_function("tools[0]", name, None, form)
    assert refused.value.param == param


@given(strategies.text())
def test_a_text_comes_back(text: str) -> None:
    assert custom_tools.text_of(custom_tools.arguments_of(text)) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "{}"),
        ({"input": 1}, '{"input":1}'),
        ({"input": "a", "more": "b"}, '{"input":"a","more":"b"}'),
        ({"text": "é"}, '{"text":"é"}'),
    ],
)
def test_nothing_is_lost_of_a_call_with_other_arguments(
    arguments: dict[str, Any], text: str
) -> None:
    assert custom_tools.text_of(arguments) == text
