"""A conversation as Markdown in which the text of a model stays text.

Who opens the file chooses what reads it, and most readers run HTML and fetch pictures. So
each text is parsed as they would; one that holds HTML, a picture, an address or code that a
reader may take for more than code goes into a block of code as a whole, where it is shown as
it stands. The others keep their form, in a quotation, which ends whatever they leave open.
"""

import functools
import re
from collections.abc import Iterator

from markdown_it import MarkdownIt

from toolkit.safetext import cleaned
from toolkit.widgets.chat.conversation import Conversation, Turn, TurnState
from toolkit.widgets.chat.figures import figures

_ACTIVE = frozenset({"html_block", "html_inline", "image", "link_open"})
# What readers make a link of although CommonMark does not, and bare references to people.
_ADDRESS = re.compile(r"://|www\.|\S@\S|mailto:", re.IGNORECASE)
# Pandoc and Quarto write code marked {=html} as HTML, and Quarto runs code marked {python}.
_RAW = re.compile(r"\{\s*=")
_LANGUAGE = re.compile(r"[\w+-]*")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!<>|~:@&$])")


def as_markdown(conversation: Conversation) -> str:
    """The whole conversation with the figures of each reply; ends with a newline."""
    return "\n\n".join(_parts(conversation)) + "\n"


def inert(text: str) -> str:
    """Markdown that shows `text` and does nothing: the text itself, or it as code."""
    text = cleaned(text).strip("\n")
    return text if _is_inert(text) else _as_code(text)


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


def _is_inert(text: str) -> bool:
    environment: dict[str, object] = {}
    tokens = _parser().parse(text, environment)
    kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
    fences = [token.info.strip() for token in tokens if token.type == "fence"]
    return (
        not (kinds & _ACTIVE or environment.get("references"))
        and not (_ADDRESS.search(text) or _RAW.search(text))
        and all(_LANGUAGE.fullmatch(language) for language in fences)
    )


def _as_code(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))


def _escaped(text: str) -> str:
    """One line in which nothing is Markdown."""
    return _MARKS.sub(r"\\\1", " ".join(cleaned(text).split()))


@functools.cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])
