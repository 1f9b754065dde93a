"""Formats that explode, loop or lead nowhere: an error or a text, never a neighbour's loss."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.engine.backend import RequestError
from server.engine.grammar import compile_grammar
from server.engine.types import Grammar, Sampling
from server.models.name import ModelName
from server.models.store import Store
from tests.server.engine.real import RealEngine

# llguidance asks llama.cpp by a function that llama-cpp-python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:llama_token_get_attr:DeprecationWarning")

QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def engine(embedded_store: Path) -> RealEngine:
    path, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    return RealEngine(path, context=256, parallel=2)


def beside_a_neighbour(engine: RealEngine, grammar: Grammar) -> int:
    """Run a formatted request beside a plain one, which must not notice; its number."""
    neighbour = engine.submit(QUESTION, sampling=GREEDY)
    number = engine.submit(QUESTION, grammar=grammar, sampling=GREEDY, max_tokens=12)
    engine.drain()
    assert "Paris" in engine.text[neighbour]
    return number


def schema(value: dict[str, Any]) -> Grammar:
    return Grammar("schema", json.dumps(value))


_PAIRS = {
    f"a{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/a{i - 1}"}] * 2, "items": False}
    for i in range(1, 31)
}
_TREE = {"type": "object", "properties": {s: {"$ref": "#/$defs/n"} for s in ("l", "r")}}


@pytest.mark.parametrize(
    "grammar",
    [
        schema({"type": "array", "items": {"type": "integer"}, "minItems": 10**6}),
        schema({"type": "string", "minLength": 10**6, "maxLength": 10**9}),
        schema({"$ref": "#/$defs/n", "$defs": {"n": _TREE}}),
        schema({"$ref": "#/$defs/a30", "$defs": _PAIRS | {"a0": {"type": "integer"}}}),
        schema({"type": "string", "pattern": "^(a{1,1000000}){1,1000000}$"}),
        schema({"enum": [f"value {number}" for number in range(3000)]}),
        Grammar("regex", "((a{1,100}){1,100}){1,100}"),
        Grammar("gbnf", 'root ::= root "a" | "b"'),
    ],
    ids=["items", "length", "recursive", "doubling", "pattern", "enum", "regex", "left recursion"],
)
def test_a_format_that_is_huge_is_followed(engine: RealEngine, grammar: Grammar) -> None:
    number = beside_a_neighbour(engine, grammar)
    assert engine.finished[number].output_tokens > 0
    assert engine.text[number]


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        (schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "format"),
        (schema({"type": "object", "properties": {f"p{i}": {} for i in range(4000)}}), "format"),
        (Grammar("lark", 'start: "a" /[^\\x00-\\U0010FFFF]/'), "leaves no token"),
        (Grammar("lark", "start: start"), "format"),
        (Grammar("regex", "(?=a)b"), "format"),
    ],
    ids=["loop", "properties", "dead end", "endless", "look-ahead"],
)
def test_a_format_that_leads_nowhere_is_an_error(
    engine: RealEngine, grammar: Grammar, told: str
) -> None:
    number = beside_a_neighbour(engine, grammar)
    assert engine.failed[number].kind == "invalid_request"
    assert told in engine.failed[number].message
    # Only a dead end is not seen before the text has come to it.
    assert (not engine.said[number]) is (told != "leaves no token")
    assert "\n" not in engine.failed[number].message


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(?=a)b", "look-around, including look-ahead"), ("(", "unclosed group")],
)
def test_what_is_wrong_with_a_pattern_is_said(pattern: str, reason: str) -> None:
    with pytest.raises(RequestError, match=f"regex parse error: {reason}"):
        compile_grammar(schema({"type": "string", "pattern": pattern}))
