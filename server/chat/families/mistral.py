"""Mistral until 2025: `[TOOL_CALLS][{…}]`. What its successors write is read too."""

from server.chat.calls import read_named
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

CALLS, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"

FAMILY = Family(
    name="mistral",
    signs=(CALLS,),
    forms=(Form(CALLS, read_named, ends=(CALLS,), heading=(ARGS, CALL_ID)),),
    trail=("</s>",),
    marks=(CALLS, ARGS, CALL_ID),
    spelling=Spelling(as_object, before=f"{CALLS}[", between=", ", after="]"),
)
