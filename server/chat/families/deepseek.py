"""DeepSeek V3 and R1: `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, then the arguments in
a code fence."""

from server.chat.calls import read_named
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, arguments_of

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
SEP = "<｜tool▁sep｜>"

FAMILY = Family(
    name="deepseek",
    signs=(f"['type'] + '{SEP}", f"function{SEP}"),
    forms=(Form(CALL, read_named, ends=(CALL_END, CALL, CALLS_END)),),
    lead=(CALLS,),
    trail=("```", CALL_END, CALLS_END),
    marks=(CALLS, CALLS_END, CALL, CALL_END, SEP),
    spelling=Spelling(
        lambda tool: (
            f"{CALL}function{SEP}{tool.name}\n```json\n",
            arguments_of(tool),
            f"\n```{CALL_END}",
        ),
        before=CALLS,
        between="\n",
        after=CALLS_END,
    ),
)
