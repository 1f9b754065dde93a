"""Markdown of a model as HTML that can do nothing.

Everything is escaped, images are not rendered and links are not live: an address is
shown as text. A live link would already cost a name lookup when it appears (browsers
look hosts up ahead of a click), and a host name can carry a conversation away.
"""

import functools
import html
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from toolkit.safetext import cleaned

# Beyond this the parser would hold up the other panels of the notebook.
MAX_MARKDOWN_CHARS = 16_000
# Beyond this a browser gets slow; the end is what one wants to see.
MAX_SHOWN_CHARS = 120_000


def rendered(text: str) -> str:
    """Safe HTML of Markdown; very long text as plain text, its beginning left out."""
    text = cleaned(text)
    if len(text) <= MAX_MARKDOWN_CHARS:
        return str(_parser().render(text))
    return plain(text)


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Language and code of each block of code in Markdown, as `rendered` shows them."""
    text = cleaned(text)
    if len(text) > MAX_MARKDOWN_CHARS:
        return []
    tokens = _parser().parse(text)
    return [
        (token.info.split()[0] if token.info.split() else "", token.content)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def plain(text: str) -> str:
    """Safe HTML of text as it stands, line ends kept."""
    text = cleaned(text)
    hidden = len(text) - MAX_SHOWN_CHARS
    note = f"<em>… {hidden:,} characters before this are not shown</em>\n" if hidden > 0 else ""
    shown = html.escape(text[-MAX_SHOWN_CHARS:])
    return f'<div class="akl-plain">{note}{shown}</div>'


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("js-default", {"breaks": True, "html": False}).disable("image")
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("link_close", _link_close)
    for kind in ("fence", "code_block"):
        parser.add_render_rule(kind, _code)
    return parser


def _code(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: Any,
    environment: MutableMapping[str, Any],
) -> str:
    """Code with lines that are too long is moved with the arrow keys, once Tab has led to it."""
    usual = getattr(RendererHTML, tokens[index].type)
    html: str = usual(renderer, tokens, index, options, environment)
    return html.replace("<pre>", '<pre tabindex="0">', 1)


def _link_open(
    _self: RendererHTML,
    _tokens: Sequence[Token],
    _index: int,
    _options: Any,
    _env: MutableMapping[str, Any],
) -> str:
    return '<span class="akl-link">'


def _link_close(
    _self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    _options: Any,
    _env: MutableMapping[str, Any],
) -> str:
    opening = _opening(tokens, index)
    address = str(opening.attrGet("href") or "")
    inner = "".join(token.content for token in tokens[tokens.index(opening) + 1 : index])
    shown = "" if inner == address else f" <code>{html.escape(address)}</code>"
    return f"{shown}</span>"


def _opening(tokens: Sequence[Token], closing: int) -> Token:
    """The token that opened the link; links do not nest."""
    for token in reversed(tokens[:closing]):
        if token.type == "link_open":
            return token
    raise ValueError("a link that was never opened")
