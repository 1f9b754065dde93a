"""Gemma 2 and 3, which were trained on no form: code in a fence, or JSON in one."""

from server.chat.calls import read_code
from server.chat.families.generic import BARE, FENCED
from server.chat.families.llama import LISTED
from server.chat.families.llama_pythonic import as_python
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, has_python_names

_FENCES = ("```tool_code\n", "```python\n")

FAMILY = Family(
    name="gemma",
    signs=("tool_code", "<start_of_turn>"),
    forms=(
        *(Form(fence, read_code, ends=("```",), is_whole=False) for fence in _FENCES),
        *FENCED,
        BARE[0],
        LISTED,
    ),
    trail=("```",),
    spelling=Spelling(
        as_python, before="```tool_code\n", between="\n", after="\n```", fits=has_python_names
    ),
)
