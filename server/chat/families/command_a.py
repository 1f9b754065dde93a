"""Command-R7B and Command-A: `<|START_ACTION|>[{…}]<|END_ACTION|>`."""

from server.chat.calls import may_begin_json, read_objects
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, arguments_of, quoted

OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"

FAMILY = Family(
    name="command-a",
    signs=(OPEN,),
    forms=(Form(OPEN, read_objects, ends=(CLOSE, OPEN), may_begin=may_begin_json),),
    trail=(CLOSE,),
    thinking=(("<|START_THINKING|>", "<|END_THINKING|>"),),
    marks=(OPEN, CLOSE),
    spelling=Spelling(
        lambda tool: (
            f'{{"tool_call_id": "0", "tool_name": {quoted(tool.name)}, "parameters": ',
            arguments_of(tool),
            "}",
        ),
        before=f"{OPEN}[\n    ",
        between=",\n    ",
        after=f"\n]{CLOSE}",
    ),
)
