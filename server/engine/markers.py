"""Marks such as `<tool_call>` in a grammar: a token of its own where the vocabulary has one."""

import json
import re
from collections.abc import Sequence

import llguidance


def place_markers(lark: str, markers: Sequence[str], tokenizer: llguidance.LLTokenizer) -> str:
    """The Lark text with rules for the marks that it refers to.

    `marker_3` is the fourth mark, `until_3` is any text up to and including it.
    """
    rules = [_rules(at, mark, tokenizer) for at, mark in enumerate(markers)]
    return "\n".join([lark, *rules])


def _rules(at: int, mark: str, tokenizer: llguidance.LLTokenizer) -> str:
    literal = re.escape(mark).replace("/", "\\/").replace("\\\n", "\\n")
    token = _token(mark, tokenizer)
    if token is None:
        text = json.dumps(mark, ensure_ascii=False)
        return f"marker_{at}: {text}\nuntil_{at}[lazy]: /(?s:.*){literal}/"
    before = f"BEFORE_{at}: /(?s:.*)/ & ~/(?s:.*){literal}(?s:.*)/"
    return f"{before}\nmarker_{at}: <[{token}]>\nuntil_{at}: BEFORE_{at} <[{token}]>"


def _token(mark: str, tokenizer: llguidance.LLTokenizer) -> int | None:
    """The special token that a mark is."""
    tokens = tokenizer.tokenize_str(mark, parse_special=True)
    return tokens[0] if len(tokens) == 1 and tokenizer.is_special_token(tokens[0]) else None
