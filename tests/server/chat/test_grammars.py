"""What a grammar lets a model write, and what a reply under it is read as."""

import random
from collections.abc import Sequence

import pytest

from server.chat.begun import Begun
from server.chat.family import Family
from server.chat.grammars import for_answer, forced_call
from server.chat.parts import Content, Thought
from server.chat.tools import Tool, ToolCall
from server.engine.types import Grammar
from server.errors import InvalidRequest
from tests.server.chat.templates import FAMILIES
from tests.server.chat.tools_on_offer import TOOLS, read
from tests.support.byte_tokens import ByteGrammar

# What a random writer would never hit on: the texts that end something.
IDEAS = [
    '"',
    "</arg_value>\n",
    "}",
    "]",
    ")",
    "\n</parameter>\n",
    "<escape>",
    '<|"|>',
    "\n",
    "</think>",
]

HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


def forced(
    family: Family,
    *,
    parallel: bool = False,
    is_thinking: bool = False,
    may_think: bool = False,
    tools: Sequence[Tool] = TOOLS,
    control: Sequence[str] = (),
) -> ByteGrammar:
    begun = Begun(is_thinking=is_thinking)
    grammar = forced_call(family, tools, parallel=parallel, begun=begun, may_think=may_think)
    return ByteGrammar(grammar, control)


@pytest.mark.parametrize("control", [(), ("<tool_call>", "</tool_call>")], ids=["text", "tokens"])
def test_only_a_call_may_be_written(control: Sequence[str]) -> None:
    one = forced(FAMILIES["hermes"], control=control)
    assert one.accepts(HERMES)
    assert one.accepts(TIME)
    assert not one.begins("Sure")
    assert not one.begins(HERMES.replace("get_weather", "rm"))
    assert not one.begins(HERMES.replace('"Paris"', "7"))
    assert not one.begins(HERMES.replace("city", "town"))
    assert not one.accepts(HERMES + "\n" + TIME)


def test_several_calls_only_where_they_may_be_parallel() -> None:
    assert forced(FAMILIES["hermes"], parallel=True).accepts(f"{HERMES}\n{TIME}\n{TIME}")


def test_a_named_tool_is_the_only_one() -> None:
    one = forced(FAMILIES["hermes"], tools=TOOLS[1:])
    assert one.accepts(TIME)
    assert not one.begins(HERMES)


@pytest.mark.parametrize("control", [(), ("<think>", "</think>")], ids=["text", "tokens"])
class TestThinkingFirst:
    def test_where_the_prompt_has_opened_it(self, control: Sequence[str]) -> None:
        one = forced(FAMILIES["hermes"], is_thinking=True, may_think=True, control=control)
        assert one.accepts(f"hm\n</think>\n\n{HERMES}")
        assert one.accepts(f"</think>{HERMES}")
        assert not one.accepts(HERMES)

    def test_where_the_model_may(self, control: Sequence[str]) -> None:
        one = forced(FAMILIES["hermes"], may_think=True, control=control)
        assert one.accepts(f"<think>hm {TIME}</think>\n{HERMES}")
        assert one.accepts(HERMES)
        assert not one.begins("<think>hm</think>\nSure")

    def test_not_where_it_must_not(self, control: Sequence[str]) -> None:
        assert not forced(FAMILIES["hermes"], control=control).begins("<think>")


WRITTEN = {
    "qwen-coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n<parameter=unit>\ncelsius\n</parameter>\n</function>\n"
    "</tool_call>",
    "glm": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "nemotron": '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "P"}}]</TOOLCALL>',
    "llama": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "llama-pythonic": '[get_weather(city="Paris", days=3)]',
    "mistral": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}}]',
    "mistral-named": '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    '```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek-v3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    '{"city": "Paris"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "gemma": '```tool_code\nget_weather(city="Paris")\n```',
    "function-gemma": "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}"
    "<end_function_call>",
    "gemma4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
    "command-r": 'Action: ```json\n[\n{"tool_name": "get_weather", "parameters": '
    '{"city": "Paris"}}\n]\n```',
    "command-a": '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
    '"parameters": {"city": "Paris"}}\n]<|END_ACTION|>',
    "granite": '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]',
    "phi": '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "P"}}]<|/tool_call|>',
    "generic": '{"name": "get_weather", "arguments": {"city": "Paris"}}',
    "harmony": "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    '{"city": "Paris"}',
}


@pytest.mark.parametrize("is_token", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("name", WRITTEN)
def test_each_family_writes_its_own_form(name: str, is_token: bool) -> None:
    family = FAMILIES[name]
    one = forced(family, control=family.marks if is_token else ())
    assert one.accepts(WRITTEN[name])
    assert not one.begins(WRITTEN[name].replace("get_weather", "get_whether"))
    assert not one.begins(WRITTEN[name].replace("city", "town"))


@pytest.mark.parametrize("parallel", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("name", WRITTEN)
def test_whatever_may_be_written_is_read_as_calls(name: str, parallel: bool) -> None:
    family = FAMILIES[name]
    one = forced(family, parallel=parallel, may_think=True, control=family.marks)
    written = (one.write(random.Random(seed), IDEAS) for seed in range(8))
    replies = [reply for reply in written if reply is not None]
    assert replies
    for reply in replies:
        parts = read(family, [reply])
        calls = [part for part in parts if isinstance(part, ToolCall)]
        assert calls, reply
        assert len(calls) == 1 or parallel
        assert all(isinstance(part, ToolCall | Thought) for part in parts), reply


@pytest.mark.parametrize("name", ["hermes", "llama-pythonic", "gemma", "generic"])
def test_a_tool_may_have_any_name(name: str) -> None:
    tool = Tool('get "it\\\n\x01-now ', parameters={"properties": {"a b": {"type": "null"}}})
    reply = forced(FAMILIES[name], tools=[tool]).write(random.Random(3), IDEAS)
    assert reply is not None
    [call] = read(FAMILIES[name], [reply], tools=[tool])
    assert isinstance(call, ToolCall)
    assert call.name == tool.name


def test_definitions_of_a_schema_are_found() -> None:
    tool = Tool(
        "paint",
        parameters={
            "type": "object",
            "properties": {"colour": {"$ref": "#/$defs/Colour"}},
            "required": ["colour"],
            "$defs": {"Colour": {"type": "string", "enum": ["red", "blue"]}},
        },
    )
    for name in ("hermes", "qwen-coder", "llama-pythonic"):
        one = forced(FAMILIES[name], tools=[tool])
        reply = one.write(random.Random(1), IDEAS)
        assert reply is not None
        [call] = read(FAMILIES[name], [reply], tools=[tool])
        assert isinstance(call, ToolCall)
        assert call.arguments["colour"] in ("red", "blue")


FORMATS = [
    (Grammar("json"), '{"a": 1}', "[1]"),
    (Grammar("schema", '{"type": "array"}'), "[1]", "{"),
    (Grammar("regex", r"a/b\n|\d+(?i:x)"), "12X", "b"),
    (Grammar("lark", 'start: "a" b "}"\nb: /[0-9]+/'), "a12}", "b"),
    (Grammar("gbnf", 'root ::= "a" [0-9]+ "}"'), "a12}", "b"),
]


@pytest.mark.parametrize("control", [(), ("<think>", "</think>")], ids=["text", "tokens"])
@pytest.mark.parametrize(("grammar", "good", "bad"), FORMATS, ids=[g.kind for g, _, _ in FORMATS])
class TestFormatBehindThinking:
    def test_begun(self, grammar: Grammar, good: str, bad: str, control: Sequence[str]) -> None:
        made = for_answer(grammar, FAMILIES["hermes"], Begun(is_thinking=True), may_think=True)
        one = ByteGrammar(made, control)
        assert one.accepts(f"\nhm {bad}{good}\n</think>\n\n{good}")
        assert one.accepts(f"</think>{good}")
        assert not one.begins(f"hm</think>\n{bad}")
        assert not one.accepts(good)

    def test_not_begun(self, grammar: Grammar, good: str, bad: str, control: Sequence[str]) -> None:
        made = for_answer(grammar, FAMILIES["hermes"], Begun(), may_think=True)
        one = ByteGrammar(made, control)
        assert one.accepts(f"<think>{bad}</think>{good}")
        assert one.accepts(good)
        assert not one.begins(bad)


def test_a_format_behind_the_channels_of_harmony() -> None:
    family = FAMILIES["harmony"]
    made = for_answer(Grammar("json"), family, Begun(), may_think=True)
    one = ByteGrammar(made, family.marks)
    final = '<|channel|>final<|message|>{"a": 1}'
    thought = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    assert one.accepts(final)
    assert one.accepts(thought + final)
    assert not one.begins("{")
    assert not one.begins("<|channel|>final<|message|>no")
    parts = read(family, [thought + final])
    assert parts == [Thought("hm"), Content('{"a": 1}')]


def test_a_broken_gbnf_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequest, match="GBNF"):
        for_answer(
            Grammar("gbnf", "root ::= ("),
            FAMILIES["hermes"],
            Begun(is_thinking=True),
            may_think=True,
        )
