"""Llama 4, and Llama 3.2 where its template says so: `[f(a=1), g()]`."""

from server.chat.families.generic import BARE
from server.chat.families.llama import LISTED
from server.chat.family import Family
from server.chat.spelling import Pieces, Schema, Spelling, has_python_names, listed, parameter
from server.chat.tools import Tool

START, END = "<|python_start|>", "<|python_end|>"


def as_python(tool: Tool) -> Pieces:
    """`f(a=1, b="x")`, its values as JSON, of which we read the literals too."""
    arguments = listed(tool, lambda name: (f"{name}=", Schema(parameter(tool, name))))
    return (f"{tool.name}(", *arguments, ")")


FAMILY = Family(
    name="llama-pythonic",
    signs=(START, "func_name1(params_name1="),
    forms=(BARE[0], LISTED),
    lead=(START,),
    trail=(END, ";", "<|eom|>", "<|eot|>"),
    marks=(START, END),
    spelling=Spelling(as_python, before="[", between=", ", after="]", fits=has_python_names),
)
