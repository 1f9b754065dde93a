"""Models whose form is not known: a reply, or a block of code in it, that is a call of an
offered tool, or a list of such calls, as JSON."""

from server.chat.calls import may_begin_json, read_objects
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import AS_OBJECTS

BARE = tuple(
    Form(bracket, read_objects, is_bare=True, may_begin=may_begin_json) for bracket in "{["
)
FENCED = tuple(
    Form(fence, read_objects, ends=("```",), may_begin=may_begin_json)
    for fence in ("```json\n", "```tool_call\n")
)

FAMILY = Family(
    name="generic",
    signs=(),
    forms=(*BARE, *FENCED),
    trail=("```", ";", ","),
    spelling=AS_OBJECTS,
)
