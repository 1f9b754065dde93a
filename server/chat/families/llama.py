"""Llama 3.1 to 3.3: bare JSON `{"name": …, "parameters": …}`, perhaps behind
`<|python_tag|>`, several with `;` or line breaks between; small ones write Python too."""

from server.chat.calls import may_begin_json, may_begin_python, read_listed
from server.chat.families.generic import BARE
from server.chat.family import Family
from server.chat.forms import Form
from server.chat.spelling import Spelling, as_object

TAG = "<|python_tag|>"
LISTED = Form(
    "[",
    read_listed,
    is_bare=True,
    may_begin=lambda text: may_begin_json(text) or may_begin_python(text),
)

FAMILY = Family(
    name="llama",
    signs=(TAG, '"parameters": dictionary of argument name'),
    forms=(BARE[0], LISTED),
    lead=(TAG,),
    trail=(";", ",", "<|eom_id|>", "<|eot_id|>"),
    marks=(TAG,),
    spelling=Spelling(lambda tool: as_object(tool, arguments="parameters"), between="; "),
)
