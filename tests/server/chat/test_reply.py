"""Replies as models of each family write them, read whole and one character at a time."""

import json
import re
from typing import Any

import pytest

from server.chat.families import family_of
from server.chat.family import Family
from server.chat.parts import Content, Part, Thought
from server.chat.reply import ReplyParser
from server.chat.tools import ToolCall
from tests.server.chat.templates import FAMILIES
from tests.server.chat.tools_on_offer import TOOLS, read

# What a test expects: ("name", arguments) is a call, ("~", text) a thought, a text content.
Expected = list[str | tuple[str, Any]]

PARIS = ("get_weather", {"city": "Paris"})
TIME: tuple[str, Any] = ("get_time", {})


def shown(parts: list[Part]) -> Expected:
    return [_shown(part) for part in parts]


def _shown(part: Part) -> str | tuple[str, Any]:
    match part:
        case Content(text):
            return text
        case Thought(text):
            return ("~", text)
        case ToolCall(_, name, arguments):
            return (name, arguments)


HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CALLS: list[tuple[str, str, Expected]] = [
    ("hermes", HERMES, [PARIS]),
    ("hermes", f"I look.\n{HERMES}\n{HERMES}\n", ["I look.", PARIS, PARIS]),
    ("hermes", f"<think>\nhm\n</think>\n\n{HERMES} Done.", [("~", "hm"), PARIS, "Done."]),
    ("hermes", HERMES.removesuffix("</tool_call>") + HERMES, [PARIS, PARIS]),
    ("hermes", '{"name": "get_time", "arguments": {}}', [TIME]),
    ("hermes", f"[It's in [brackets] ]: {HERMES}", ["[It's in [brackets] ]:", PARIS]),
    ("hermes", 'So:\n```json\n{"name": "get_time", "arguments": {}}\n```', ["So:", TIME]),
    (
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call> }"}}</tool_call>',
        [("get_weather", {"city": "</tool_call> }"})],
    ),
    (
        "qwen-coder",
        "On it.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n<parameter=metric>\nTrue\n</parameter>\n"
        '<parameter=filter>\n{"a": 1}\n</parameter>\n</function>\n</tool_call>',
        [
            "On it.",
            (
                "get_weather",
                {"city": "New\nYork", "days": 3, "metric": True, "filter": {"a": 1}},
            ),
        ],
    ),
    (
        "glm",
        "Hm.<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
        "<tool_call>get_time</tool_call>",
        ["Hm.", ("get_weather", {"city": "Paris", "days": 3}), TIME],
    ),
    ("nemotron", '<TOOLCALL>[{"name": "get_time", "arguments": {}}]</TOOLCALL>', [TIME]),
    ("qwen-coder", "<function=get_time>\n</function>\n</tool_call>", [TIME]),
    ("qwen-coder", "<tool_call>\n<function=get_time>\n</tool_call>", [TIME]),
    (
        "llama",
        '{"name": "get_weather", "parameters": {"city": "Paris"}}; '
        '{"name": "get_time", "parameters": {}}',
        [PARIS, TIME],
    ),
    (
        "llama",
        '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": '
        '{"city": "Paris"}}\n{"name": "get_time", "parameters": "{}"}<|eom_id|>',
        [PARIS, TIME],
    ),
    ("llama", "[get_weather(city='Paris'), get_time()]", [PARIS, TIME]),
    (
        "llama-pythonic",
        "<|python_start|>[get_weather(city='Pa)r\\'is', days=-1, metric=False, "
        "filter={'a': [1, None]})]<|python_end|>",
        [
            (
                "get_weather",
                {"city": "Pa)r'is", "days": -1, "metric": False, "filter": {"a": [1, None]}},
            )
        ],
    ),
    (
        "mistral",
        'Hm.[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}, '
        '"id": "Abc123xyz"}, {"name": "get_time", "arguments": {}}]',
        ["Hm.", PARIS, TIME],
    ),
    (
        "mistral-named",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_time[ARGS]{}',
        [PARIS, TIME],
    ),
    ("mistral-named", "[TOOL_CALLS]get_time[CALL_ID]Abc123xyz[ARGS]{}", [TIME]),
    ("mistral-named", "[THINK] hm\n[/THINK][TOOL_CALLS]get_time{}", [("~", "hm"), TIME]),
    (
        "deepseek",
        "Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function'
        "<｜tool▁sep｜>get_time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ["Ok.", PARIS, TIME],
    ),
    (
        "deepseek-v3.1",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}'
        "<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        [PARIS, TIME],
    ),
    ("gemma", '```tool_code\nprint(get_weather(city="Paris"))\nget_time()\n```', [PARIS, TIME]),
    ("gemma", '```tool_code\nx = get_weather("Paris")\n```\nWait.', [PARIS, "Wait."]),
    ("gemma", '```json\n{"name": "get_time", "parameters": {}}\n```', [TIME]),
    ("gemma", "[get_weather(city='Paris')]", [PARIS]),
    (
        "function-gemma",
        '<start_function_call>call:get_weather{city:<escape>It\'s {x: "1"}<escape>,days:2,'
        "filter:{a:1}}<end_function_call><start_function_call>call:get_time{}"
        "<end_function_call>",
        [("get_weather", {"city": 'It\'s {x: "1"}', "days": 2, "filter": {"a": 1}}), TIME],
    ),
    ("gemma4", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>', [PARIS]),
    ("gemma4", "<|channel>thought\nhm\n<channel|>Yes.", [("~", "hm"), "Yes."]),
    (
        "command-r",
        'Plan: look.\nAction: ```json\n[\n    {\n        "tool_name": "get_weather",\n'
        '        "parameters": {"city": "Paris"}\n    },\n    {"tool_name": "get_time", '
        '"parameters": {}}\n]\n```',
        ["Plan: look.", PARIS, TIME],
    ),
    (
        "command-a",
        '<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", '
        '"tool_name": "get_weather", "parameters": {"city": "Paris"}}\n]<|END_ACTION|>',
        [("~", "hm"), PARIS],
    ),
    ("granite", '<|tool_call|>[{"name": "get_time", "arguments": {}}]', [TIME]),
    ("granite", '<function_call>{"name": "get_time", "arguments": {}}', [TIME]),
    (
        "granite-thinking",
        "Here is my thought process: hm Here is my response: Yes.",
        [("~", "hm"), "Yes."],
    ),
    ("phi", '<|tool_call|>[{"name": "get_time", "arguments": {}}]<|/tool_call|>', [TIME]),
    ("generic", '[{"function": {"name": "get_time", "arguments": "{}"}}]', [TIME]),
    ("generic", '{"tool_calls": [{"function": "get_time", "parameters": {}}]}', [TIME]),
    ("generic", 'So:\n```json\n{"name": "get_time"}\n``` Ok.', ["So:", TIME, "Ok."]),
    (
        "generic",
        '```json\n{"name": "get_time"}\n```\n```json\n{"name": "get_time"}\n```',
        [TIME, TIME],
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|> hm <|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_weather <|constrain|>json<|message|>{"city":"Paris"}<|call|>',
        [("~", "hm"), "I look.", PARIS],
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.get_time"
        "<|channel|>commentary json<|message|>{}",
        [("~", "hm"), TIME],
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
        "Yes <b>.<|return|>",
        [("~", "hm"), "Yes <b>."],
    ),
    (
        "harmony",
        " to=functions.get_time<|channel|>commentary json<|message|>{}",
        [TIME],
    ),
    ("harmony", " to=you <|end|>", [" to=you "]),
    ("harmony", "to be", ["to be"]),
    ("harmony", "t", ["t"]),
    ("harmony", "Just <| text.", ["Just <| text."]),
    ("harmony", "<|channel|>analysis<|message|>hm<|end|><|start|>assis", [("~", "hm")]),
]


@pytest.mark.parametrize(("family", "reply", "expected"), CALLS)
def test_a_reply_is_read(family: str, reply: str, expected: Expected) -> None:
    assert shown(read(FAMILIES[family], [reply])) == expected
    assert shown(read(FAMILIES[family], reply)) == expected


REPAIRED = [
    '{"name": "get_weather", "arguments": {"city": "Paris",},}',
    "{'name': 'get_weather', 'arguments': {'city': 'Paris'}}",
    '{"name": "get_weather", "arguments": {"city": "Paris"}',
    '{"name": "get_weather", "arguments": {"city": "Paris"',
    '{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}',
    '{"name": "functions.get_weather", "arguments": {"city": "Paris"}}',
]


@pytest.mark.parametrize("body", REPAIRED)
def test_an_unambiguous_mistake_is_repaired(body: str) -> None:
    reply = f"<tool_call>{body}</tool_call>"
    assert shown(read(FAMILIES["hermes"], [reply])) == [PARIS]
    assert shown(read(FAMILIES["hermes"], reply)) == [PARIS]


def test_python_literals_and_raw_line_breaks_are_repaired() -> None:
    reply = "<tool_call>{'name': 'get_weather', 'arguments': {'city': 'a\nb', 'metric': True, "
    reply += "'unit': None}}</tool_call>"
    expected = [("get_weather", {"city": "a\nb", "metric": True, "unit": None})]
    assert shown(read(FAMILIES["hermes"], reply)) == expected


@pytest.mark.parametrize(
    ("family", "reply"),
    [
        ("hermes", '<tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>\n'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": 0}</tool_call>'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": {"city": "Par'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"'),
        ("hermes", '<tool_call>{"name": "get_weather"'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": {city: Paris}}</tool_call>'),
        ("hermes", '  <tool_call>{"name": "get_time", "x": NaN}</tool_call>'),
        ("hermes", "a </tool_call> b <tool_cal"),
        ("hermes", '{"answer": "get_time"}\n'),
        ("hermes", '{"name": "Anna", "age": 7}'),
        ("qwen-coder", "<tool_call>\n<function=rm>\n</function>\n</tool_call>"),
        ("qwen-coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar"),
        ("llama", "[get_weather(city=open('x'))]"),
        ("llama", "[get_weather(**x)] and [1, 2]"),
        ("llama", "[get_weather('a', 1, True, 'celsius', {}, 'more')]"),
        ("llama", "<|python_tag|>brave_search.call(query='x')"),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral-named", '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"'),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>rm\n{}"),
        ("gemma", "```tool_code\nimport os\nget_time()\n```"),
        ("gemma", "```python\nprint('hello')\n```\n"),
        ("function-gemma", "<start_function_call>call:get_weather{city:Paris}<end_function_call>"),
        ("command-r", "Action: I act."),
        ("generic", 'Here:\n```json\n{"a": [1, 2]}\n```\n'),
        ("generic", "[1] says: it's so"),
    ],
)
def test_what_is_no_call_stays_as_it_was(family: str, reply: str) -> None:
    assert shown(read(FAMILIES[family], [reply])) == [reply]
    assert shown(read(FAMILIES[family], reply)) == [reply]


def test_a_broken_call_takes_no_other_with_it() -> None:
    broken = '<tool_call>{"name": "get_weather", "arguments": {"city": "it}}</tool_call>'
    expected = [broken, PARIS]
    assert shown(read(FAMILIES["hermes"], [broken + HERMES])) == expected
    assert shown(read(FAMILIES["hermes"], broken + HERMES)) == expected


def test_a_call_to_a_tool_of_harmony_that_was_not_offered_stays() -> None:
    reply = "<|channel|>commentary to=functions.rm <|constrain|>json<|message|>{}"
    assert shown(read(FAMILIES["harmony"], [reply + "<|call|>"])) == [reply]


def test_without_tools_a_call_is_text() -> None:
    assert shown(read(FAMILIES["hermes"], [HERMES], tools=())) == [HERMES]


def test_a_call_is_given_as_soon_as_it_is_whole() -> None:
    parser = ReplyParser(FAMILIES["hermes"], tools=TOOLS, is_thinking=False, expects_thinking=True)
    assert shown(parser.feed(HERMES.removesuffix("\n</tool_call>"))) == [PARIS]
    assert parser.feed("\n</tool_call>") == []
    assert parser.finish() == []


def test_content_flows_but_for_what_may_be_a_mark() -> None:
    parser = ReplyParser(FAMILIES["hermes"], tools=TOOLS, is_thinking=False, expects_thinking=True)
    assert shown(parser.feed("1 <")) == ["1"]
    assert shown(parser.feed("2 and <tool")) == [" <2 and"]
    assert shown(parser.finish()) == [" <tool"]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", "The tag <tool_call> begins a call. "),
        ("hermes", '{"answer": '),
        ("command-r", "Action: I act. "),
        ("generic", '```json\n{"answer": '),
        ("llama", "[1] says: it's so. "),
    ],
)
def test_what_cannot_become_a_call_flows(family: str, text: str) -> None:
    parser = ReplyParser(FAMILIES[family], tools=TOOLS, is_thinking=False, expects_thinking=True)
    assert shown(parser.feed(text)) == [text.rstrip()]


def test_ids_are_ollamas_and_never_the_same() -> None:
    parts = read(FAMILIES["hermes"], [HERMES * 50])
    ids = {part.id for part in parts if isinstance(part, ToolCall)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"call_[a-z0-9]{8}", id) for id in ids)


@pytest.mark.parametrize(
    "arguments", ['{"city": "\\ud800"}', '{"city": "\\ud83d\\ude00"}', '{"days": ' + "9" * 30 + "}"]
)
def test_arguments_can_always_be_written(arguments: str) -> None:
    reply = f'<tool_call>{{"name": "get_weather", "arguments": {arguments}}}</tool_call>'
    [call] = read(FAMILIES["hermes"], [reply])
    assert isinstance(call, ToolCall)
    assert json.dumps(call.arguments, ensure_ascii=False).encode()


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "1e999", "NaN", "9" * 5000])
@pytest.mark.parametrize("family", ["hermes", "llama"])
def test_hostile_values_are_no_call(family: str, value: str) -> None:
    reply = f'{{"name": "get_weather", "parameters": {{"city": {value}}}}}'
    assert shown(read(FAMILIES[family], [reply])) == [reply]


@pytest.mark.parametrize("value", ["(" * 500 + ")" * 500, "-" * 5000 + "1", "f''", "b'x'", "1j"])
def test_hostile_python_is_no_call(value: str) -> None:
    reply = f"[get_weather(city={value})]"
    assert shown(read(FAMILIES["llama"], [reply])) == [reply]


class TestThinking:
    @pytest.mark.parametrize(
        ("reply", "is_thinking", "expected"),
        [
            ("<think>\n a\n b \n</think>\n\n c \n", False, [("~", "a\n b"), "c \n"]),
            ("\n<think>\n\n</think>\n\nc", False, ["c"]),
            ("a </think>\nb", True, [("~", "a"), "b"]),
            ("<think>a</think>b", True, [("~", "a"), "b"]),
            ("\n a < b", True, [("~", "a < b")]),
            ("a</thi", True, [("~", "a</thi")]),
            ("a <think>b</think>", False, ["a <think>b</think>"]),
            (" <thin", False, [" <thin"]),
            (" \n", False, [" \n"]),
            ("<think>a</think>b<think>c</think>", False, [("~", "a"), "b<think>c</think>"]),
        ],
    )
    def test_thinking_is_split_off(self, reply: str, is_thinking: bool, expected: Expected) -> None:
        family = FAMILIES["hermes"]
        assert shown(read(family, [reply], is_thinking=is_thinking)) == expected
        assert shown(read(family, reply, is_thinking=is_thinking)) == expected

    def test_tags_are_text_where_thinking_is_not_expected(self) -> None:
        reply = "<think>a</think>b"
        assert shown(read(FAMILIES["hermes"], reply, expects_thinking=False)) == [reply]

    def test_thoughts_flow(self) -> None:
        parser = ReplyParser(FAMILIES["hermes"], tools=(), is_thinking=True, expects_thinking=True)
        assert shown(parser.feed("\na b")) == [("~", "a b")]
        assert shown(parser.feed(" \n")) == []
        assert shown(parser.feed("c</")) == [("~", " \nc")]
        assert shown(parser.feed("think>\n")) == []
        assert shown(parser.feed("\nd")) == ["d"]

    def test_a_call_in_thinking_is_a_thought(self) -> None:
        parts = read(FAMILIES["hermes"], [f"<think>{HERMES}</think>ok"])
        assert shown(parts) == [("~", HERMES), "ok"]


@pytest.mark.parametrize("name", sorted(set(FAMILIES)))
def test_a_template_tells_its_family(name: str) -> None:
    family = FAMILIES[name]
    assert family.name == name.removesuffix("-thinking")


def test_control_tokens_tell_the_family_where_there_is_no_template() -> None:
    family = family_of(None, ["<s>", "[TOOL_CALLS]", "[THINK]", "[/THINK]"])
    assert family.name == "mistral"
    assert family.markers == ("[TOOL_CALLS]", "[THINK]", "[/THINK]")
    assert family_of(None, []).name == "generic"


def test_markers_are_only_what_the_model_has() -> None:
    family = family_of("<tool_call> <think>", ["<tool_call>", "<|im_end|>"])
    assert family.markers == ("<tool_call>",)


@pytest.mark.parametrize(
    ("template", "has_tools", "has_thinking"),
    [
        ("{% if tools %}<tool_call>{% endif %}", True, False),
        ("{{ messages[0] }} mind your tools", False, False),
        ("{% for m in messages %}<think>{% endfor %}", False, True),
        ("{% if enable_thinking is defined %}{% endif %}", False, True),
        ("<|channel|>analysis<|message|>{{ tools }}", True, True),
        ("", False, False),
    ],
)
def test_a_template_shows_what_its_model_can(
    template: str, has_tools: bool, has_thinking: bool
) -> None:
    assert family_of(template, []).capabilities(template) == (has_tools, has_thinking)


def test_a_prompt_may_open_the_thinking() -> None:
    family: Family = FAMILIES["hermes"]
    assert family.starts_thinking("<|im_start|>assistant\n<think>\n")
    assert not family.starts_thinking("<|im_start|>assistant\n<think>\n\n</think>\n\n")
