"""Markdown files of conversations: the text of a model stays text for whoever opens them."""

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.canaries import ARABIC, HOSTILE, SPLIT_TOGETHER
from toolkit.client import ChatStats
from toolkit.widgets.chat.conversation import Conversation, TurnState
from toolkit.widgets.chat.export import as_markdown
from toolkit.widgets.chat.inert import inert
from toolkit.widgets.chat.pictures import Picture

ACTIVE = {"html_block", "html_inline", "image", "link_open"}
TEXTS = [
    HOSTILE,
    "<script>alert(1)</script>",
    "![x](http://evil.example/leak)",
    "[a]: http://evil.example\n\n[a]",
    "<https://evil.example>",
    "see www.evil.example",
    "me@evil.example",
    "```\n```` \n<img src=x onerror=alert(1)>",
    "~~~\n<b>\n~~~\n<b>",
    "- a\n\n      <i>\n<i>",
    "<!-- ",
    "`<b>` `` <b>",
    "\\`<b>`",
    "</details>",
    "```{=html}\n<script>alert(1)</script>\n```",
    "~~~ { =html}\n<script>alert(1)</script>\n~~~",
    "- a\n\n  ```{=html}\n  <script>alert(1)</script>\n  ```",
    "`<script>alert(1)</script>`{=html}",
    "```{python}\nimport os\n```",
    "```python {.cell}\nimport os\n```",
    # What only Pandoc, Quarto or R Markdown see.
    "\\input{/etc/passwd}",
    "$\\input{/etc/passwd}$ and $^^5cinput{x}$",
    "$`\\input{/etc/passwd}`$",
    "\\begin{x}\n\ny\n\n\\end{x}",
    '[over]{onmouseover="alert(1)"}',
    '# a {onclick="alert(1)"}',
    '`a`{onclick="alert(1)"}',
    "::: {.hidden}\na\n:::",
    "---\nheader-includes: <script>\n---",
    "- ---\n  title: x\n  ---",
    "text\n~~~\n<script>alert(1)</script>\n~~~",
    "`````\n<script>alert(1)</script>",
    "~~~\n![x](y)\n~~~",
    "1. a\n\n   ```\n   [a](b)\n   ```",
    "{{< include /etc/passwd >}}",
    "```\n{{< env HOME >}}\n```",
    "`r system('id')` and `{python} 1`",
    "```text\n```{r}\nsystem('id')\n```\n```",
    "```mermaid\ngraph TD; A[<img src=x>]\n```",
    "as @doe says [@roe]",
]
ALIVE = re.compile(r"\\[A-Za-z@]|\^\^|<[A-Za-z/!?]|\{|@\w|^\s*:{3}", re.MULTILINE)
# As they look for them: shortcodes, and code that is run, in code as well.
RUN = re.compile(r"\{\{[<%]|^[\t >]*```+[ \t]*\{[A-Za-z]|`(?:r[ #]|\{\w+\} )", re.MULTILINE)

PIECES = [
    *(
        "\n",
        "\n\n",
        " ",
        "    ",
        "> ",
        "- ",
        "1. ",
        "| a |",
        "|---|",
        "a",
        "**b**",
        "# ",
        "$",
        "\\",
    ),
    *("~~~", "```", "````", "```{r}", "```{=html}", "---", "title: x", "<b>", "</b>", "{", "}"),
    *("[x]", "(y)", "![", "[^1]:", ":::", "`", "`r x`", "{{< a >}}", "\\input", "^^5c", "@doe"),
]


def exported(prompt: str, reply: str) -> str:
    conversation = Conversation(title=prompt)
    turn = conversation.begin(prompt, f"model {prompt}")
    turn.add(reply, reply)
    turn.state = TurnState.COMPLETE
    conversation.begin("the next", "m").add("**the end**")
    conversation.turns[-1].state = TurnState.STOPPED
    return as_markdown(conversation)


def check(document: str) -> None:
    environment: dict[str, object] = {}
    tokens = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(document, environment)
    )
    kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
    assert not kinds & ACTIVE and not environment.get("references")
    # No code that Pandoc or Quarto takes for more than code.
    assert all(re.fullmatch(r"[\w+-]*", t.info.strip()) for t in tokens if t.type == "fence")
    assert not any(re.search(r"(?<!\\)\{\s*=", t.content) for t in tokens if t.type == "inline")
    for token in (each for each in tokens if each.type == "inline"):
        texts = [child.content for child in token.children or () if child.type == "text"]
        is_quoted = token.level > 1  # else it is ours, and escaped
        words = texts if is_quoted else [re.sub(r"\\[^A-Za-z]", "", token.content)]
        assert not ALIVE.search("\n".join(words)), document
    assert not RUN.search(document)
    coded = {at for t in tokens if t.type == "fence" and t.map for at in range(*t.map)}
    lines = [line for at, line in enumerate(document.split("\n")) if at not in coded]
    assert not [line for line in lines if re.fullmatch(r"[ >]*---[ \t]*", line)], document
    # Nothing that a reply leaves open reaches the next turn.
    headings = [
        tokens[n + 1].content
        for n, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2" and token.level == 0
    ]
    assert len(headings) == 4 and headings[2] == "You"
    assert "\x1b" not in document and "\u202e" not in document


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.goal(4)
def test_hostile_text_stays_text(text: str) -> None:
    check(exported(text, text))


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_mixture_comes_alive(text: str) -> None:
    check(exported(text, text))


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="Pandoc is not installed")
def test_pandoc_sees_nothing_but_text() -> None:
    argv = ["pandoc", "--from", "markdown", "--to", "json"]
    for text in TEXTS:
        given = exported(text, text).encode()
        told = subprocess.run(argv, input=given, capture_output=True, check=True).stdout.decode()
        assert json.loads(told)["meta"] == {}, text
        assert not re.search(r'"t":"(Raw|Link|Image|Cite|Div|Span)|\[\["on', told), text


@given(st.text(alphabet=st.sampled_from(list("<>{}\"'&;:/()[]!`~*_#|-=\\\n ab.@\t1+\x1b\u202e"))))
@pytest.mark.goal(4)
def test_no_text_comes_alive_or_reaches_the_next_turn(text: str) -> None:
    check(exported(text, text))


def test_harmless_markdown_keeps_its_form() -> None:
    text = "# Title\n\n- **bold**\n\n```python\nx = [1]  # <b>\n```"
    assert inert(text) == text
    told = "Sum: $x^2$, about $5.\n\nThen\n---\n\n- `a{b}` \\* c\n"
    assert inert(told) == told.rstrip("\n").replace("---", "----")  # the same heading
    assert inert("so:\n```c\nint x{1};\n```\n\n---") == "so:\n\n```c\nint x{1};\n```\n\n----"
    assert "> - **bold**" in exported("q", text)
    assert SPLIT_TOGETHER in exported("q", SPLIT_TOGETHER) and ARABIC in exported("q", ARABIC)


def test_text_with_an_address_is_shown_as_code_whole() -> None:
    text = "`````\n<b>\n`````\n<b>"
    assert inert(text) == f"``````text\n{text}\n``````"
    assert inert("`````\n<b>\n`````") == "`````\n<b>\n`````"  # code anyway
    assert inert("`````\n<b>").startswith("``````text")  # of which Pandoc sees no end


def test_figures_thinking_and_pictures_are_told() -> None:
    conversation = Conversation()
    turn = conversation.begin("look", "m:1b", [Picture("a.png", b"\x89PNG\r\n\x1a\n")])
    turn.add("sky", "blue?")
    turn.state = TurnState.COMPLETE
    turn.stats = ChatStats(
        first_byte_s=0.1, total_s=1.0, ttft_s=0.25, output_tokens=12, finish_reason="stop"
    )
    turn.usd = 0.0001
    text = as_markdown(conversation).replace("\\", "")
    assert "12 tokens · first token 0.25 s · at most $0.0001 · ended: stop" in text
    assert "Picture: a.png (1 kB), SHA-256 `" in text and "Thinking:\n\n> blue?" in text
