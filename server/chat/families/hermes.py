"""Hermes, Qwen 2.5, Qwen 3, Granite 4 and many more: `<tool_call>{json}</tool_call>`.

Small ones forget the tags, so a reply that is a call as a whole counts too.
"""

from server.chat.calls import may_begin_json, read_objects
from server.chat.families.generic import BARE, FENCED
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

OPEN, CLOSE = "<tool_call>", "</tool_call>"

FAMILY = Family(
    name="hermes",
    signs=(OPEN,),
    forms=(Form(OPEN, read_objects, ends=(CLOSE, OPEN), may_begin=may_begin_json), *BARE, *FENCED),
    trail=(CLOSE, "```"),
    marks=(OPEN, CLOSE),
    spelling=Spelling(
        lambda tool: (f"{OPEN}\n", *as_object(tool), f"\n{CLOSE}"),
        between="\n",
    ),
)
