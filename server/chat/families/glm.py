"""GLM 4.5 and later: `<tool_call>name`, then a key and a value each between tags."""

from server.chat.calls import read_pairs
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Pieces, Spelling, raw_values
from server.chat.tools import Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def _call(tool: Tool) -> Pieces:
    arguments = raw_values(
        tool, lambda name: f"<arg_key>{name}</arg_key>\n<arg_value>", "</arg_value>\n"
    )
    return (f"{OPEN}{tool.name}\n", *arguments, CLOSE)


FAMILY = Family(
    name="glm",
    signs=("<arg_key>",),
    forms=(Form(OPEN, read_pairs, ends=(CLOSE, OPEN), is_whole=False, is_raw=True),),
    trail=(CLOSE,),
    marks=(OPEN, CLOSE, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    spelling=Spelling(_call, between="\n"),
)
