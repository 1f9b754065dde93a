"""Nemotron: `<TOOLCALL>[{…}]</TOOLCALL>`."""

from server.chat.calls import may_begin_json, read_objects
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

OPEN, CLOSE = "<TOOLCALL>", "</TOOLCALL>"

FAMILY = Family(
    name="nemotron",
    signs=(OPEN,),
    forms=(Form(OPEN, read_objects, ends=(CLOSE, OPEN), may_begin=may_begin_json),),
    trail=(CLOSE,),
    marks=(OPEN, CLOSE),
    spelling=Spelling(as_object, before=f"{OPEN}[", between=", ", after=f"]{CLOSE}"),
)
