"""Qwen3-Coder and later: `<tool_call><function=name><parameter=x>…`; values are raw text."""

from server.chat.calls import read_xml
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import (
    Maybe,
    OneOf,
    Piece,
    Pieces,
    Schema,
    Spelling,
    TextUntil,
    is_required,
    is_text,
    parameter,
    texts_of,
)
from server.chat.tools import Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, END = "<function=", "</function>"
_VALUE_END = "\n</parameter>\n"


def _call(tool: Tool) -> Pieces:
    pieces: list[Piece] = [f"{OPEN}\n{FUNCTION}{tool.name}>\n"]
    for name in tool.properties:
        written = _parameter(tool, name)
        pieces += written if is_required(tool, name) else (Maybe(written),)
    return (*pieces, f"{END}\n{CLOSE}")


def _parameter(tool: Tool, name: str) -> Pieces:
    start = f"<parameter={name}>\n"
    if is_text(tool, name):
        return (start, TextUntil(_VALUE_END))
    if texts := texts_of(tool.properties[name]):
        return (start, OneOf(texts), _VALUE_END)
    return (start, Schema(parameter(tool, name)), _VALUE_END)


FAMILY = Family(
    name="qwen-coder",
    signs=(FUNCTION,),
    forms=(Form(FUNCTION, read_xml, ends=(END, CLOSE), is_whole=False, is_raw=True),),
    lead=(OPEN,),
    trail=(END, CLOSE),
    marks=(OPEN, CLOSE),
    spelling=Spelling(_call, between="\n"),
)
