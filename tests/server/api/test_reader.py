"""The tokens of thoughts, counted while a reply is read."""

from collections.abc import Iterable

import pytest
from hypothesis import given, strategies

from server.api.reader import Reader
from server.chat.reply import ReplyParser
from server.engine.types import Piece
from tests.server.chat.templates import FAMILIES
from tests.server.chat.tools_on_offer import TOOLS

CALL = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'


def counted(
    family: str, pieces: Iterable[str], *, is_thinking: bool = False, tokens_each: int = 1
) -> int:
    parser = ReplyParser(
        FAMILIES[family], tools=TOOLS, is_thinking=is_thinking, expects_thinking=True
    )
    reader = Reader(parser)
    for text in pieces:
        reader.feed(Piece(text, (7,) * tokens_each))
    reader.finish()
    return reader.thinking_tokens


@pytest.mark.parametrize(
    ("family", "reply", "number"),
    [
        ("hermes", "<think>|h|m|</think>|\n\n|4", 4),
        ("hermes", "<|thi|nk>|hm|</|think>|4", 6),
        ("hermes", "\n|<think>|hm|</think>|4", 4),
        ("hermes", "<think>||hm||</think>|4", 5),  # half a character has no text yet
        ("hermes", "<think>|hm|</think>|<think>|4", 3),
        ("hermes", f"<think>|hm|</think>|{CALL}", 3),
        ("hermes", "<think>|and it is cut", 2),
        ("hermes", "<|thanks|>", 0),
        ("hermes", "no| thoughts", 0),
        ("hermes", " |\n", 0),
        ("harmony", "<|channel|>|analysis|<|message|>|h|m|<|end|>|"
         "<|start|>|assistant|<|channel|>|final|<|message|>|4", 6),
        ("harmony", "<|channel|>|final|<|message|>|4|<|return|>", 0),
        ("harmony", "<|channel|>|analysis|<|message|>|hm|<|end|>|"
         "<|start|>|assistant|<|channel|>|analysis|<|message|>|so|<|end|>|"
         "<|start|>|assistant|<|channel|>|commentary to=functions.get_time|<|message|>|{}|<|call|>",
         12),
        ("harmony", "4", 0),
    ],
)  # fmt: skip
def test_tokens_of_thoughts(family: str, reply: str, number: int) -> None:
    assert counted(family, reply.split("|") if family == "hermes" else _marked(reply)) == number


def _marked(reply: str) -> list[str]:
    """Pieces of a reply whose marks have bars themselves."""
    bare = reply.replace("<|", "<\0").replace("|>", "\0>")
    return [piece.replace("\0", "|") for piece in bare.split("|")]


def test_a_thought_that_the_prompt_has_begun() -> None:
    assert counted("hermes", ["h", "m", "</think>", "4"], is_thinking=True) == 3


def test_a_piece_of_several_tokens_belongs_to_the_thought_in_it() -> None:
    assert counted("hermes", ["<think>hm</think>4", "5"], tokens_each=3) == 3


def test_a_reply_that_is_not_read_for_thoughts() -> None:
    reader = Reader()
    reader.feed(Piece("<think>", (1,)))
    assert reader.thinking_tokens == 0


@given(thought=strategies.text("ab <\n"), answer=strategies.text("cd <\n"))
def test_every_character_a_token(thought: str, answer: str) -> None:
    span = f"<think>{thought}</think>"
    assert counted("hermes", span + answer) == len(span)
