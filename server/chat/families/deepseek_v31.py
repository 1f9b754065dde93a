"""DeepSeek V3.1 and later: `<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}`."""

from dataclasses import replace

from server.chat.families import deepseek as older
from server.chat.spelling import Spelling, arguments_of

FAMILY = replace(
    older.FAMILY,
    name="deepseek-v3.1",
    signs=(older.CALLS,),
    spelling=Spelling(
        lambda tool: (
            f"{older.CALL}{tool.name}{older.SEP}",
            arguments_of(tool),
            older.CALL_END,
        ),
        before=older.CALLS,
        after=older.CALLS_END,
    ),
)
