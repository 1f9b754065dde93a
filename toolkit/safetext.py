"""Text of a model as text: what could steer a terminal or a reader's eye is taken out.

A model's output is hostile input. Escape sequences move the cursor, rename windows
or write to the clipboard; direction overrides make text read as what it is not.
"""

import re

# CSI, OSC/DCS/PM/APC strings up to their end, and the other two-byte escapes.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# Controls except tab and newline; direction embeddings, overrides and isolates;
# lone surrogates, which no terminal or browser can be sent.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def cleaned(text: str) -> str:
    """`text` with newlines and tabs as its only controls.

    Safe piece by piece as well: a sequence that is cut in two loses its first
    character here, and what is left of it is plain text.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def well_formed(text: str) -> str:
    """`text` that can be written as UTF-8: pairs of surrogates joined, lone ones as U+FFFD.

    A browser sends one where a character outside the basic plane was cut in two.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
