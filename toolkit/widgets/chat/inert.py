"""Markdown of strangers that does nothing, whatever reads it.

JupyterLab and web pages read it as CommonMark with HTML and mathematics; Pandoc, Quarto and
R Markdown know more: TeX, attributes, divs, metadata, shortcodes, code that is run. A text
keeps its form where all of them see text in it; any other is shown as code, as it stands. They
do not agree on what is code either, so only what all of them take for it counts.
"""

import functools
import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from toolkit.safetext import cleaned

_ACTIVE = frozenset({"html_block", "html_inline", "image", "link_open"})
# What readers make a link of although CommonMark does not, and bare references to people.
_ADDRESS = re.compile(r"://|www\.|\S@\S|mailto:", re.IGNORECASE)
# TeX (its second way to write a backslash, too), HTML, attributes, citations, links and pictures,
# divs, metadata.
_ALIVE = re.compile(
    r"\\[A-Za-z@]|\^\^|<[A-Za-z/!?]|\{|@\w|\][(\[:]|^\s*:{3}|^\s*-{3}\s*$", re.MULTILINE
)
# Pandoc and Quarto write code marked {=html} as HTML.
_RAW = re.compile(r"\{\s*=")
_LANGUAGE = re.compile(r"[\w+-]*")
# Code that is drawn where it is read, links and all.
_DRAWN = frozenset({"dot", "geojson", "graphviz", "math", "mermaid", "plantuml", "stl", "topojson"})
# What is found in code as well, and what it becomes: cells and inline code that are run (knitr
# looks at single lines, so that a longer fence around them does not help), and shortcodes.
_ARMED = (
    (re.compile(r"```(?=[ \t]*\{)"), "`` `"),
    (re.compile(r"`(?=\{|r[ #])"), "` "),
    (re.compile(r"\{\{(?=[<%])"), "{{ "),
)
# Three dashes begin metadata; four are the same line, or the same heading, to all.
_DASHES = re.compile(r"^([ \t>*+.)\d-]*)(?<!-)---[ \t]*$")


def inert(text: str) -> str:
    """Markdown that shows `text` and does nothing: the text itself, or it as code."""
    text = disarmed(cleaned(text).strip("\n"))
    kept = _kept(text)
    return _as_code(text) if kept is None else kept


def disarmed(text: str) -> str:
    """The text without what is run or replaced wherever it stands, in code as well."""
    for armed, harmless in _ARMED:
        text = armed.sub(harmless, text)
    return text


def _kept(text: str) -> str | None:
    """The text in its form; None where it has to be shown as code."""
    environment: dict[str, object] = {}
    tokens, lines = _parser().parse(text, environment), text.split("\n")
    kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
    if kinds & _ACTIVE or environment.get("references"):
        return None
    if _ADDRESS.search(text) or _RAW.search(text):
        return None
    fences = [token for token in tokens if token.type == "fence"]
    if not all(_is_plain(token.info.strip()) for token in fences):
        return None
    sure = [token for token in fences if _is_sure(token, lines)]
    if any(_ALIVE.search(words) for words in _read_as_text(tokens, sure)):
        return None
    return "\n".join(_settled(lines, sure))


def _is_plain(language: str) -> bool:
    return _LANGUAGE.fullmatch(language) is not None and language.lower() not in _DRAWN


def _is_sure(fence: Token, lines: list[str]) -> bool:
    """Whether every reader takes it for code: by backticks, in no list, and closed."""
    start, end = fence.map or (0, 0)
    closing = lines[end - 1].strip()
    is_closed = end - start > 1 and set(closing) == {"`"} and len(closing) >= len(fence.markup)
    return fence.level == 0 and fence.markup.startswith("`") and is_closed


def _read_as_text(tokens: list[Token], sure: list[Token]) -> Iterator[str]:
    """All that some reader may take for more than code."""
    for token in tokens:
        if token.type in ("fence", "code_block") and token not in sure:
            yield token.content
        children = token.children or ()
        texts = [child.content for child in children if child.type == "text"]
        yield from texts
        # Mathematics goes on across code, and a run of backticks that is not closed is taken apart.
        if sum(words.count("$") for words in texts) > 1 or any("`" in words for words in texts):
            yield from (child.content for child in children if child.type == "code_inline")


def _settled(lines: list[str], sure: list[Token]) -> Iterator[str]:
    """The lines so that all readers agree where code and metadata begin."""
    begins = {fence.map[0] for fence in sure if fence.map}
    inside = {at for fence in sure if fence.map for at in range(*fence.map)}
    for at, line in enumerate(lines):
        if at in begins and at and lines[at - 1].strip():
            yield ""
        yield line if at in inside else _DASHES.sub(r"\1----", line)


def _as_code(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@functools.cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])
