"""Qwen3-Coder and later: `<tool_call><function=name><parameter=x>…`; values are raw text."""

from server.chat.calls import read_xml
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Pieces, Spelling, raw_values
from server.chat.tools import Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, END = "<function=", "</function>"


def _call(tool: Tool) -> Pieces:
    arguments = raw_values(tool, lambda name: f"<parameter={name}>\n", "\n</parameter>\n")
    return (f"{OPEN}\n{FUNCTION}{tool.name}>\n", *arguments, f"{END}\n{CLOSE}")


FAMILY = Family(
    name="qwen-coder",
    signs=("<parameter=",),
    forms=(Form(FUNCTION, read_xml, ends=(END, CLOSE), is_whole=False, is_raw=True),),
    lead=(OPEN,),
    trail=(END, CLOSE),
    marks=(OPEN, CLOSE),
    spelling=Spelling(_call, between="\n"),
)
