"""FunctionGemma: `<start_function_call>call:name{key:<escape>text<escape>}`."""

from server.chat.escaped import reader
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Pieces, Schema, Spelling, TextUntil, is_text, listed, parameter
from server.chat.tools import Tool


def spelled(tool: Tool, opening: str, closing: str, quote: str) -> Pieces:
    """One call of this form, whatever its marks are."""

    def argument(name: str) -> Pieces:
        if is_text(tool, name):
            return (f"{name}:{quote}", TextUntil(quote))
        return (f"{name}:", Schema(parameter(tool, name)))

    return (f"{opening}call:{tool.name}{{", *listed(tool, argument, ","), f"}}{closing}")


def family(name: str, opening: str, closing: str, quote: str) -> Family:
    """A family that writes calls in this form between its own marks."""
    ends = (closing, opening)
    return Family(
        name=name,
        signs=(opening,),
        forms=(Form(opening, reader(quote), ends=ends, is_whole=False, is_raw=True),),
        trail=(closing,),
        marks=(opening, closing, quote),
        spelling=Spelling(lambda tool: spelled(tool, opening, closing, quote)),
    )


FAMILY = family("function-gemma", "<start_function_call>", "<end_function_call>", "<escape>")
