"""A conversation as Markdown in which the text of a model stays text.

Who opens the file chooses what reads it, and most readers run HTML and fetch pictures. So each
text is made `inert`, and stands in a quotation, which ends whatever it leaves open.
"""

import re
from collections.abc import Iterator

from toolkit.safetext import cleaned
from toolkit.widgets.chat.conversation import Conversation, Turn, TurnState
from toolkit.widgets.chat.figures import figures
from toolkit.widgets.chat.inert import disarmed, inert

_MARKS = re.compile(r"[\\`*_{}\[\]()#+\-.!<>|~:@&$^%]")
# To R Markdown, a backslash before one of them begins mathematics.
_BRACKETS = {mark: f"&#{ord(mark)};" for mark in "()[]"}
# JupyterLab looks for mathematics in the page that Markdown became: no command is left to find.
_COMMAND = re.compile(r"\\(?=[^\W\d_]|@)")


def as_markdown(conversation: Conversation) -> str:
    """The whole conversation with the figures of each reply; ends with a newline."""
    return "\n\n".join(_parts(conversation)) + "\n"


def _parts(conversation: Conversation) -> Iterator[str]:
    yield f"# {_escaped(conversation.title)}"
    for turn in conversation.turns:
        yield "## You"
        yield _quoted(inert(turn.prompt))
        for picture in turn.pictures:
            yield f"Picture: {_escaped(picture.label)}, SHA-256 `{picture.digest}`"
        yield f"## {_escaped(turn.model)}"
        if turn.thinking:
            yield f"Thinking:\n\n{_quoted(inert(turn.thinking))}"
        if turn.text:
            yield _quoted(inert(turn.text))
        yield _ending(turn)


def _ending(turn: Turn) -> str:
    if turn.state is TurnState.FAILED:
        return f"*Not complete:* {_escaped(turn.error)}"
    told = [f"{name} {value}".strip() for name, value in figures(turn)]
    state = [] if turn.state is TurnState.COMPLETE else [turn.state.value]
    return f"*{_escaped(' · '.join(state + told) or 'no figures')}*"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))


def _escaped(text: str) -> str:
    """One line in which nothing is Markdown, and nothing TeX."""
    line = _COMMAND.sub(r"\\ ", disarmed(" ".join(cleaned(text).split())))
    return _MARKS.sub(lambda mark: _BRACKETS.get(mark[0], f"\\{mark[0]}"), line)
