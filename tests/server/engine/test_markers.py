"""Marks in a grammar: tokens of their own, or text, as the vocabulary has it."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs

from server.chat.begun import Begun
from server.chat.families import family_of
from server.chat.grammars import for_answer, forced_call
from server.chat.tools import Tool, ToolCall
from server.engine.grammar import special_token
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
    token_of = partial(special_token, tokenizer)
    rules = place_markers("start: marker_0 marker_1", ["<|im_end|>", "<tool_call>"], token_of)
    [end] = engine.backend.tokenize([Segment("<|im_end|>")], add_bos=False)
    assert f"marker_0: <[{end}]>" in rules
    assert 'marker_1: "<tool_call>"' in rules


def test_a_model_that_must_call_does(engine: RealEngine) -> None:
    family = family_of("<tool_call>", engine.backend.info.control_tokens)
    grammar = forced_call(family, [WEATHER], parallel=False, begun=Begun(), may_think=False)
    [reply] = engine.say(QUESTION, grammar=grammar, sampling=Sampling(temperature=0), max_tokens=80)
    [call] = read(family, [reply], tools=[WEATHER])
    assert isinstance(call, ToolCall)
    assert call.arguments["city"] in CITIES


def test_a_format_waits_for_the_end_of_thinking(engine: RealEngine) -> None:
    family = replace(family_of("<think>", ()), thinking=(("<think>", " is"),))
    form = Grammar("schema", '{"enum": ["yes"]}')
    grammar = for_answer(form, family, Begun(is_thinking=True), may_think=True)
    [reply] = engine.say(QUESTION, grammar=grammar, sampling=Sampling(temperature=0), max_tokens=80)
    thought, _, format = reply.partition(" is")
    assert thought
    assert format.strip() == '"yes"'


def test_a_format_holds_for_what_is_given_and_what_is_said_together(engine: RealEngine) -> None:
    given = '{"capital": "Par'
    schema = {
        "type": "object",
        "properties": {"capital": {"enum": ["Paris", "Rome"]}},
        "required": ["capital"],
        "additionalProperties": False,
    }
    grammar = Grammar("schema", json.dumps(schema), given=given)
    greedy = Sampling(temperature=0)
    [said] = engine.say(QUESTION + given, grammar=grammar, sampling=greedy, max_tokens=20)
    assert json.loads(given + said)["capital"] == "Paris"
    number = engine.submit(QUESTION, grammar=structs.replace(grammar, given='{"capital": "Ber'))
    engine.drain()
    assert engine.failed[number].kind == "invalid_request"
    assert "what the reply begins with" in engine.failed[number].message


@pytest.mark.parametrize("mark", ["\n</x/y>\n", "[a.b*]", "<｜tool▁sep｜>", "a\\b", "ä"])
@pytest.mark.parametrize("is_token", [False, True], ids=["text", "token"])
def test_any_mark_is_taken_literally(mark: str, is_token: bool) -> None:
    grammar = Grammar("lark", 'start: marker_0 "(" until_0 ")"', markers=(mark,))
    one = ByteGrammar(grammar, [mark] if is_token else [])
    assert one.accepts(f"{mark}(x{mark})")
    assert one.accepts(f"{mark}({mark})")
    assert not one.begins("x")
    assert not one.begins(f"{mark}(x{mark}{mark}")
