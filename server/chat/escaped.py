"""Calls as FunctionGemma and Gemma 4 write them: `call:name{key:<escape>text<escape>}`.

Text stands between two marks, keys have no quotes; the rest is JSON.
"""

import json
import re

from server.chat.forms import Reader
from server.chat.tools import Offered, ToolCall
from server.chat.values import NotReadable, read_json

_HEAD = re.compile(r"\s*call:\s*([^\s{]+)\s*(?=\{)")
_JSON_STRING = r'"(?:[^"\\]|\\.)*"'
_BARE_KEY = r"(?P<before>[{,]\s*)(?P<key>[\w.-]+)(?P<after>\s*:)"


def reader(quote: str) -> Reader:
    """Reads blocks whose text stands between two `quote`s."""
    mark = re.escape(quote)
    text = f"{mark}(?P<text>.*?){mark}"
    pattern = re.compile(f"{text}|{_JSON_STRING}|{_BARE_KEY}", re.DOTALL)

    def read(body: str, offered: Offered, is_ended: bool) -> list[ToolCall]:
        head = _HEAD.match(body)
        if head is None or not is_ended:
            raise NotReadable("no whole call")
        return [offered.call(head[1], read_json(pattern.sub(_as_json, body[head.end() :])))]

    return read


def _as_json(match: re.Match[str]) -> str:
    if match["text"] is not None:
        return json.dumps(match["text"])
    if match["key"] is not None:
        return f'{match["before"]}"{match["key"]}"{match["after"]}'
    return match[0]
