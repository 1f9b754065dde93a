"""Markdown files of conversations: the text of a model stays text for whoever opens them."""

import html
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    "as @* says",
    "javascript:alert(1) and data:text/html,x",
    "data:\\]",
    "^\\^5c and\n:\\::",
    "# a\n\n![a]",
    "```~ \n[a](b)\n```",
    # Where Pandoc takes blocks and fences apart otherwise than CommonMark.
    "```a`b\n\nx\n\n```\n<script>alert(1)</script>\n```",
    "`\n===\n`<script>alert(1)</script>`",
    "a `\n# h\n `<script>alert(1)</script>`",
    "a `b\n+ c`<b>`",
    "`[a](//evil.example)\n: x`",
    "+---+---+\n|`<b>` | b |\n+---+---+",
    "+-----+\n| --- |\n| a: b|\n| --- |\n+-----+",
    " a      b\n----   ----\n`[a](  //evil.example)`",
    "-----\n a\n-----\nb\n\n```\n<script>alert(1)</script>\n```\n\n-----",
    "```\n<b>\n```\u2028<b>",
]
# Mathematics, and what only one reader takes for its beginning or its end.
MATHEMATICS = [
    "\\( `\\input{/etc/passwd}` \\)",
    "\\[ `\\input{/etc/passwd}` \\]",
    "\\\\( `\\href{//evil.example}{x}` \\\\)",
    "\\\\[ `\\href{//evil.example}{x}` \\\\]",
    "It costs $5.\n\n```\n\\href{//evil.example}{click $\n```",
    "It costs $5.\n\n```\n\\href{//evil.example}{click}\n```\n\nOr $6.",
    "It costs \\\\(5.\n\n```\n\\href{//evil.example}{click} \\\\)\n```",
    "It costs $5.\n\n```\n$ <img src=//evil.example>\n```",
    "```\n$a\n```\n\nor `$`\n\n```\n\\href{//evil.example}{b}\n```\n\nor $",
    "&#36;&#92;href&#123;//evil.example}{x}&#36;",
]
ALIVE = re.compile(r"\\[A-Za-z@]|\^\^|<[A-Za-z/!?]|\{|@\S|^\s*:{3}", re.MULTILINE)
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
    *(
        "===",
        "+ ",
        ": ",
        "~ ",
        "+---+",
        "|",
        "----   ----",
        "-----",
        "@*",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
    ),
    *("`<b>`", "`[a](//b)`", "`\\input{a}`", "```\n<b>\\input{a}$\n```", "javascript:x", "&#92;"),
]
# Pandoc's Markdown, and what R Markdown makes of it.
DIALECTS = ["markdown", "markdown+tex_math_single_backslash+autolink_bare_uris"]


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


# What is more than text in Pandoc's document, by kind. It names headings and files itself, and
# the name of a heading in brackets leads to that heading.
MORE_THAN_TEXT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("RawInline", "RawBlock", "Image", "Cite", "Span"), lambda _: True),
    "Link": lambda content: not content[2][0].startswith("#"),
    "Math": lambda content: bool(re.search(r"\\[A-Za-z@]|\^\^", content[1])),
    "Header": lambda content: content[1][1:] != [[], []],
    "Code": lambda content: content[0] != ["", [], []],
    "CodeBlock": lambda content: bool(content[0][0] or content[0][1][1:] or content[0][2]),
    "Div": lambda content: content[0][1:] != [[], []],
}


def alive(node: object) -> list[object]:
    """What is more than text in a part of Pandoc's document."""
    if isinstance(node, list):
        return [found for each in node for found in alive(each)]
    if not isinstance(node, dict):
        return []
    is_alive = MORE_THAN_TEXT.get(node.get("t", ""), lambda _: False)
    return [node] if is_alive(node.get("c")) else alive(node.get("c"))


def read_by_pandoc(dialect: str, documents: list[str], folder: Path) -> list[object]:
    """What is alive in the documents, each read for itself."""
    names = [f"{number}.md" for number in range(len(documents))]
    for name, document in zip(names, documents, strict=True):
        (folder / name).write_text(document, encoding="utf-8")
    argv = ["pandoc", "--file-scope", "--from", dialect, "--to", "json", *names]
    told = json.loads(subprocess.run(argv, cwd=folder, capture_output=True, check=True).stdout)
    return [*told["meta"].items(), *alive(told["blocks"])]


@pytest.mark.parametrize("text", TEXTS + MATHEMATICS)
@pytest.mark.goal(4)
def test_hostile_text_stays_text(text: str) -> None:
    check(exported(text, text))


@pytest.mark.parametrize("text", MATHEMATICS)
def test_no_code_becomes_mathematics(text: str) -> None:
    assert re.match("`{3,}text\n", inert(text))


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_mixture_comes_alive(text: str) -> None:
    check(exported(text, text))


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="Pandoc is not installed")
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.goal(4)
def test_pandoc_sees_nothing_but_text(dialect: str, tmp_path: Path) -> None:
    chance = random.Random(4)
    mixtures = ["".join(chance.choices(PIECES, k=chance.randint(2, 12))) for _ in range(600)]
    assert sum(inert(text) == text for text in mixtures) > 30  # it is not all shown as code
    documents = [exported(text, text) for text in (*TEXTS, *MATHEMATICS, *mixtures)]
    for first in range(0, len(documents), 40):
        batch = documents[first : first + 40]
        if read_by_pandoc(dialect, batch, tmp_path):
            for document in batch:
                assert not read_by_pandoc(dialect, [document], tmp_path), document


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="Pandoc is not installed")
def test_pandoc_finds_what_is_alive(tmp_path: Path) -> None:
    for text in ("<b>", "[a](b)", "![a](b)", "@a", "[a]{.b}", "::: a\nb\n:::", "# a {b=c}"):
        assert read_by_pandoc("markdown", ["fine", text], tmp_path), text
    assert read_by_pandoc(DIALECTS[1], ["\\(\\input{a}\\)"], tmp_path)
    assert read_by_pandoc(DIALECTS[1], ["javascript:a"], tmp_path)


def test_titles_and_figures_are_no_mathematics() -> None:
    document = exported("Costs (now) [a] $\\href{//evil.example}{x}$", "a")
    assert "# Costs &#40;now&#41; &#91;a&#93; \\$\\\\ href" in document


@given(st.text(alphabet=st.sampled_from(list("<>{}\"'&;:/()[]!`~*_#|-=\\\n ab.@\t1+\x1b\u202e"))))
@pytest.mark.goal(4)
def test_no_text_comes_alive_or_reaches_the_next_turn(text: str) -> None:
    check(exported(text, text))


@pytest.mark.parametrize(
    "text",
    [
        "# Title\n\n- **bold**\n\n```python\nx = [1]  # <b> http://a $\\n\n```",
        "It is 10:30, a < b, x <= 3.\n\n1. **One:** `get_item()`\n2. *two*\n   - [x] three\n\n> so",
        "| a | b |\n|:--|---|\n| 1 | `x[0]` |\n\nSum: $x^2$, about $5 \\* 2.",
        "1. Install:\n\n   ```bash\n   pip install x\n   ```\n2. Run it.",
        "```sh\necho $A\n```\n\nand\n\n```sh\necho $B\n```",
    ],
)
def test_harmless_markdown_keeps_its_form(text: str) -> None:
    assert inert(text) == text


def test_code_and_rules_begin_where_all_readers_see_it() -> None:
    assert inert("so:\n```c\nint x{1};\n```\n\n---\nb") == "so:\n\n```c\nint x{1};\n```\n\n***\nb"
    text = "# Title\n\n- **bold**"
    assert "> - **bold**" in exported("q", text)
    assert SPLIT_TOGETHER in exported("q", SPLIT_TOGETHER) and ARABIC in exported("q", ARABIC)


def test_text_with_an_address_is_shown_as_code_whole() -> None:
    text = "`````\n<b>\n`````\n<b>"
    assert inert(text) == f"``````text\n{text}\n``````"
    assert inert("`````\n<b>\n`````") == "`````\n<b>\n`````"  # code anyway
    assert inert("`````\n<b>").startswith("``````text")  # of which Pandoc sees no end
    rule = "~~~\na\n\n---\n~~~"
    assert inert(rule) == f"````text\n{rule}\n````"  # a rule only where it is one to all
    assert inert("~~~~\n<b>\n~~~~") == "`````text\n~~~~\n<b>\n~~~~\n`````"


def test_long_texts_take_no_long_time() -> None:
    many = "a\n\n```text\n<b>\n```\n\n" * 20_000
    assert inert(many) == many.strip("\n")
    for text in (" ", "`", "~", "-", "[", "a:", "$", "&a"):
        inert(text * 500_000)


def test_figures_thinking_and_pictures_are_told() -> None:
    conversation = Conversation()
    turn = conversation.begin("look", "m:1b", [Picture("a.png", b"\x89PNG\r\n\x1a\n")])
    turn.add("sky", "blue?")
    turn.state = TurnState.COMPLETE
    turn.stats = ChatStats(
        first_byte_s=0.1, total_s=1.0, ttft_s=0.25, output_tokens=12, finish_reason="stop"
    )
    turn.usd = 0.0001
    text = html.unescape(as_markdown(conversation)).replace("\\", "")
    assert "12 tokens · first token 0.25 s · at most $0.0001 · ended: stop" in text
    assert "Picture: a.png (1 kB), SHA-256 `" in text and "Thinking:\n\n> blue?" in text
