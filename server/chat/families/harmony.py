"""gpt-oss: every reply is a row of messages on channels (`server.chat.harmony`)."""

from server.chat.family import Family
from server.chat.harmony import CHANNEL, CONSTRAIN, MARKS, MESSAGE
from server.chat.spelling import Spelling, arguments_of

FAMILY = Family(
    name="harmony",
    signs=(CHANNEL,),
    marks=MARKS,
    is_harmony=True,
    spelling=Spelling(
        lambda tool: (
            f"{CHANNEL}commentary to=functions.{tool.name} {CONSTRAIN}json{MESSAGE}",
            arguments_of(tool),
        ),
        between=None,
    ),
)
