"""OpenAI's messages as those of the core, OpenAI's fields as its options."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from server.api import openai_fields
from server.api.openai_body import decode
from server.api.openai_formats import output_format
from server.api.openai_messages import conversation
from server.api.openai_tools import is_legacy, tool_use
from server.api.openai_types import ChatBody, ChatMessage, CompletionBody
from server.api.options import Options
from server.api.requests import Think
from server.caller import EVERYBODY
from server.chat import messages as chat
from server.engine.types import Grammar
from server.errors import PayloadTooLarge, ServerError


def body(**fields: Any) -> ChatBody:
    return decode(json.dumps({"model": "m", **fields}).encode(), ChatBody)


def converted(*messages: dict[str, Any]) -> tuple[chat.Message, ...]:
    return conversation(msgspec.convert(list(messages), list[ChatMessage]))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "hi", "name": "me"}, chat.Message(role="user", content="hi")),
        ({"role": "developer", "content": "do"}, chat.Message(role="system", content="do")),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"},
                                         {"type": "text", "text": "b"}]},
            chat.Message(role="user", content="a\nb"),
        ),
        ({"role": "user", "content": []}, chat.Message(role="user")),
        ({"role": "assistant", "content": None}, chat.Message(role="assistant")),
        (
            {"role": "assistant", "content": "4", "reasoning": "2+2", "refusal": None},
            chat.Message(role="assistant", content="4", thinking="2+2"),
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            chat.Message(role="assistant", content="4", thinking="2+2"),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            chat.Message(role="assistant", content="no"),
        ),
        (
            {"role": "function", "name": "f", "content": "1"},
            chat.Message(role="tool", content="1", tool_name="f"),
        ),
        (
            {"role": "tool", "tool_call_id": "unknown", "content": "1"},
            chat.Message(role="tool", content="1", tool_call_id="unknown"),
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            chat.Message(role="assistant", tool_calls=(
                {"type": "function", "function": {"name": "f", "arguments": {}}},)),
        ),
    ],
)  # fmt: skip
def test_messages(message: dict[str, Any], expected: chat.Message) -> None:
    assert converted(message) == (expected,)


def test_a_result_gets_the_name_of_the_call_that_it_answers() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
    asked, answered = converted(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    )
    function = {"name": "f", "arguments": {"a": [1]}}
    assert asked.tool_calls == ({"id": "c1", "type": "function", "function": function},)
    assert (answered.tool_name, answered.tool_call_id) == ("f", "c1")


@pytest.mark.parametrize("arguments", ["", None, "{}", {}])
def test_calls_without_arguments(arguments: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    (message,) = converted({"role": "assistant", "tool_calls": [call]})
    assert message.tool_calls[0]["function"] == {"name": "f", "arguments": {}}


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/jpg", "image/webp", ""])
@pytest.mark.parametrize("is_object", [True, False])
def test_images(kind: str, is_object: bool) -> None:
    raw = b"\x89PNG and more"
    url = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"} if is_object else url},
    ]
    (message,) = converted({"role": "user", "content": parts})
    assert (message.content, message.images) == ("what is it?", (raw,))


def test_too_many_messages() -> None:
    with pytest.raises(PayloadTooLarge, match="too many messages: 10001, at most 10000"):
        converted(*[{"role": "user", "content": "x"}] * 10_001)


def options_of(**fields: Any) -> Options:
    asked = body(**fields)
    name, limit = "max_tokens", asked.max_completion_tokens or asked.max_tokens
    generation = openai_fields.generation(
        asked,
        defaults=Options(),
        max_tokens=(name, limit),
        form=None,
        top_logprobs=None,
        caller=EVERYBODY,
    )
    return generation.options


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0.0, "top_p": 0.5}),
        ({"max_tokens": 5}, {"num_predict": 5}),
        ({"max_tokens": -1}, {"num_predict": -1}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"num_predict": 7}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "", "b"]}, {"stop": ("a", "b")}),
        ({"stop": []}, {"stop": ()}),
        ({"logit_bias": {"5": -100, "6": 1.5}}, {"logit_bias": ((5, -100.0), (6, 1.5))}),
        ({"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ({"repeat_penalty": 1.2}, {"repeat_penalty": 1.2}),
        ({"ignore_eos": True, "min_p": 0.1, "top_k": 5, "typical_p": 0.9},
         {"ignore_eos": True, "min_p": 0.1, "top_k": 5, "typical_p": 0.9}),
        ({"num_ctx": 512, "seed": -3}, {"num_ctx": 512, "seed": -3}),
        ({"options": {"temperature": 0.1, "top_k": 3, "mirostat": 1}, "temperature": 0.2},
         {"temperature": 0.2, "top_k": 3, "mirostat": 1}),
        ({"options": {"stop": ["x"], "seed": 1}, "seed": 2}, {"stop": ("x",), "seed": 2}),
    ],
)  # fmt: skip
def test_options(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    set_ = msgspec.structs.asdict(options_of(**fields))
    assert {name: value for name, value in set_.items() if value is not UNSET} == expected


def test_each_choice_has_a_seed_of_its_own() -> None:
    generation = openai_fields.generation(
        body(seed=7), defaults=Options(), max_tokens=("max_tokens", None), form=None,
        top_logprobs=None, caller=EVERYBODY,
    )  # fmt: skip
    seeds = [openai_fields.with_seed_of(generation, at).options.seed for at in range(3)]
    assert seeds == [7, 8, 9]
    for fields in ({}, {"options": {"seed": -1}}):
        drawn = msgspec.structs.replace(generation, options=options_of(**fields))
        assert openai_fields.with_seed_of(drawn, 2) is drawn


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "medium"}}, "medium"),
        ({"reasoning": {}}, None),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"chat_template_kwargs": {"other": 1}}, None),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}, "low"),
    ],
)
def test_thinking(fields: dict[str, Any], expected: Think) -> None:
    assert openai_fields.think(body(**fields)) == expected


OPEN = {"type": "object", "properties": {"a": {"type": "null"}}}
CLOSED = Grammar(
    "schema",
    '{"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":false}',
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json")),
        ({"response_format": {"type": "json_object", "schema": OPEN}}, CLOSED),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True,
                                                                     "schema": OPEN}}}, CLOSED),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": OPEN}}}, CLOSED),
        ({"guided_json": OPEN}, CLOSED),
        ({"guided_json": json.dumps(OPEN)}, CLOSED),
        ({"guided_regex": "a+"}, Grammar("regex", "a+")),
        ({"guided_choice": ["yes", 'n"o']}, Grammar("lark", 'start: "yes" | "n\\"o"')),
        ({"guided_grammar": 'root ::= "a"'}, Grammar("gbnf", 'root ::= "a"')),
        ({"guided_grammar": 'start: "a"'}, Grammar("lark", 'start: "a"')),
        ({"structured_outputs": {"json": OPEN}}, CLOSED),
        ({"structured_outputs": {"json_object": True}}, Grammar("json")),
        ({"structured_outputs": {"regex": "a+"}}, Grammar("regex", "a+")),
        ({"structured_outputs": {"choice": ["a"]}}, Grammar("lark", 'start: "a"')),
        ({"structured_outputs": {}}, None),
    ],
)  # fmt: skip
def test_formats(fields: dict[str, Any], expected: Grammar | None) -> None:
    assert output_format(body(**fields)) == expected


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_tools() -> None:
    asked = tool_use(body(tools=[TOOL], tool_choice="required", parallel_tool_calls=False))
    assert [tool.name for tool in asked.tools] == ["f"]
    assert (asked.choice, asked.name, asked.is_parallel) == ("required", "", False)
    assert not is_legacy(body(tools=[TOOL]))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [(None, ("auto", "")), ("none", ("none", "")), ({"name": "f"}, ("required", "f"))],
)
def test_functions_as_they_were(choice: Any, expected: tuple[str, str]) -> None:
    asked = body(functions=[TOOL["function"]], function_call=choice)
    found = tool_use(asked)
    assert is_legacy(asked) and [tool.name for tool in found.tools] == ["f"]
    assert (found.choice, found.name, found.is_parallel) == (*expected, False)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    values=st.dictionaries(
        st.sampled_from([field.name for field in msgspec.structs.fields(ChatBody)]), JSON
    )
)
def test_any_body_is_read_or_refused(values: dict[str, Any]) -> None:
    """Whatever the fields are: a request, or an error that a client may see."""
    try:
        asked = decode(json.dumps(values).encode(), ChatBody)
        conversation(asked.messages)
        tool_use(asked)
        openai_fields.think(asked)
        openai_fields.generation(
            asked, defaults=Options(), max_tokens=("max_tokens", asked.max_tokens),
            form=output_format(asked), top_logprobs=None, caller=EVERYBODY,
        )  # fmt: skip
    except ServerError as error:
        assert error.status in (400, 413) and error.message


def test_every_field_of_a_body_may_be_null() -> None:
    for struct in (ChatBody, CompletionBody):
        names = [field.name for field in msgspec.structs.fields(struct)]
        decode(json.dumps(dict.fromkeys(names)).encode(), struct)
