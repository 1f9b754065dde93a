"""Command-R: `Action:` and a list of calls in a code fence."""

from server.chat.calls import may_begin_fenced, read_fenced
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

FAMILY = Family(
    name="command-r",
    signs=("Write 'Action:'", "<|START_OF_TURN_TOKEN|>"),
    forms=(Form("Action:", read_fenced, may_begin=may_begin_fenced),),
    trail=("```",),
    spelling=Spelling(
        lambda tool: as_object(tool, name="tool_name", arguments="parameters"),
        before="Action: ```json\n[\n",
        between=",\n",
        after="\n]\n```",
    ),
)
