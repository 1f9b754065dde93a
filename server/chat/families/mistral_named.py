"""Mistral since 2025: `[TOOL_CALLS]name[ARGS]{…}`, some with `[CALL_ID]…` between."""

from dataclasses import replace

from server.chat.families import mistral
from server.chat.spelling import Spelling, arguments_of

FAMILY = replace(
    mistral.FAMILY,
    name="mistral-named",
    signs=(mistral.ARGS,),
    spelling=Spelling(
        lambda tool: (f"{mistral.CALLS}{tool.name}{mistral.ARGS}", arguments_of(tool))
    ),
)
