"""Marks in a grammar: tokens of their own, or text, as the vocabulary has it."""

from dataclasses import replace
from pathlib import Path

import pytest

from server.chat.families import family_of
from server.chat.grammars import after_thinking, forced_call
from server.chat.tools import Tool, ToolCall
from server.engine.markers import place_markers
from server.engine.types import Grammar, Sampling, Segment
from server.models.name import ModelName
from server.models.store import Store
from tests.server.chat.tools_on_offer import read
from tests.server.engine.real import RealEngine
from tests.support.byte_tokens import ByteGrammar

# llguidance asks llama.cpp by a function that llama-cpp-python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:llama_token_get_attr:DeprecationWarning")

QUESTION = "<|im_start|>user\nWhat is the weather in Paris?<|im_end|>\n<|im_start|>assistant\n"
CITIES = ["Paris", "London"]
WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "enum": CITIES}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


@pytest.fixture(scope="module")
def engine(embedded_store: Path) -> RealEngine:
    path, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    return RealEngine(path, context=256, parallel=2)


def test_only_a_token_of_the_vocabulary_is_one(engine: RealEngine) -> None:
    tokenizer = engine.backend._vocab.for_grammars
    rules = place_markers("start: marker_0 marker_1", ["<|im_end|>", "<tool_call>"], tokenizer)
    [end] = engine.backend.tokenize([Segment("<|im_end|>")], add_bos=False)
    assert f"marker_0: <[{end}]>" in rules
    assert 'marker_1: "<tool_call>"' in rules


def test_a_model_that_must_call_does(engine: RealEngine) -> None:
    family = family_of("<tool_call>", engine.backend.info.control_tokens)
    grammar = forced_call(family, [WEATHER], parallel=False, is_thinking=False, may_think=False)
    [reply] = engine.say(QUESTION, grammar=grammar, sampling=Sampling(temperature=0), max_tokens=80)
    [call] = read(family, [reply], tools=[WEATHER])
    assert isinstance(call, ToolCall)
    assert call.arguments["city"] in CITIES


def test_a_format_waits_for_the_end_of_thinking(engine: RealEngine) -> None:
    family = replace(family_of("<think>", ()), thinking=(("<think>", " is"),))
    grammar = after_thinking(Grammar("schema", '{"enum": ["yes"]}'), family, is_thinking=True)
    [reply] = engine.say(QUESTION, grammar=grammar, sampling=Sampling(temperature=0), max_tokens=80)
    thought, _, format = reply.partition(" is")
    assert thought
    assert format.strip() == '"yes"'


@pytest.mark.parametrize("mark", ["\n</x/y>\n", "[a.b*]", "<｜tool▁sep｜>", "a\\b", "ä"])
@pytest.mark.parametrize("is_token", [False, True], ids=["text", "token"])
def test_any_mark_is_taken_literally(mark: str, is_token: bool) -> None:
    grammar = Grammar("lark", 'start: marker_0 "(" until_0 ")"', markers=(mark,))
    one = ByteGrammar(grammar, [mark] if is_token else [])
    assert one.accepts(f"{mark}(x{mark})")
    assert one.accepts(f"{mark}({mark})")
    assert not one.begins("x")
    assert not one.begins(f"{mark}(x{mark}{mark}")
