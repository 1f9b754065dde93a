"""Marks such as `<tool_call>` in a grammar: a token of its own where the vocabulary has one."""

import json
import re
from collections.abc import Callable, Sequence


def place_markers(lark: str, markers: Sequence[str], token_of: Callable[[str], int | None]) -> str:
    """The Lark text with rules for the marks that it refers to.

    `marker_3` is the fourth mark, `until_3` is any text up to and including it. `token_of` is
    the special token that a mark is, or None.
    """
    rules = [_rules(at, mark, token_of(mark)) for at, mark in enumerate(markers)]
    return "\n".join([lark, *rules])


def _rules(at: int, mark: str, token: int | None) -> str:
    literal = re.escape(mark).replace("/", "\\/").replace("\\\n", "\\n")
    if token is None:
        text = json.dumps(mark, ensure_ascii=False)
        return f"marker_{at}: {text}\nuntil_{at}[lazy]: /(?s:.*){literal}/"
    before = f"BEFORE_{at}: /(?s:.*)/ & ~/(?s:.*){literal}(?s:.*)/"
    return f"{before}\nmarker_{at}: <[{token}]>\nuntil_{at}: BEFORE_{at} <[{token}]>"
