"""Granite 3: `<|tool_call|>[{…}]`, in its first versions `<function_call>{…}`."""

from server.chat.calls import may_begin_json, read_objects
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

OPEN = "<|tool_call|>"
_OPENERS = (OPEN, "<tool_call>", "<function_call>")

FAMILY = Family(
    name="granite",
    signs=(OPEN,),
    forms=tuple(
        Form(opener, read_objects, ends=_OPENERS, may_begin=may_begin_json) for opener in _OPENERS
    ),
    trail=("</tool_call>", "</function_call>"),
    marks=(OPEN, "<tool_call>"),
    spelling=Spelling(as_object, before=f"{OPEN}[", between=", ", after="]"),
)
