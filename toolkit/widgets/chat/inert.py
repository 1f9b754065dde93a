"""Markdown of strangers that does nothing, whatever reads it.

JupyterLab and web pages read it as CommonMark with HTML and mathematics; Pandoc, Quarto and
R Markdown know more: TeX, attributes, divs, metadata, tables of columns, code that is run. They
do not agree where code begins and ends, so it is not parsed here. A text keeps its form only if
nothing in it could be alive wherever a reader cuts it, code in a line included. Any other is
shown as one block of code, whole. Fenced code may hold anything where no reader can miss a fence.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from toolkit.safetext import cleaned

_ALIVE = re.compile(
    r"""
      \\[^\W\d_] | \\@ | \^\\?\^       # TeX, its second way to write a backslash included
    | <(?![\s=\d-])                    # HTML, and addresses between angles
    | &\#?\w+;                         # what becomes another character after Markdown is read
    | \{                               # attributes, raw code, roles
    | @(?=\S)                          # citations, addresses of mail, people
    | \](?=[(\[:]) | [!^]\[            # links, pictures, what they refer to, notes
    | :(?:\\?:){2}                     # divs
    | \+[-=]{2}                        # tables whose cells are blocks
    | ://|www\.                        # addresses, and below those without slashes, as `data:`
    | [a-z][\d+.-]{,4}:(?!["'*`)\]|,.]*(?:\s|\Z))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FENCE = re.compile(r"(`{3,})([\w+#-]*) *")
_FENCES = re.compile(r"(?:`{3,}|~{3,})(.*)")
# The code that readers only colour. What they draw instead (mermaid, dot) has links of its own.
_LABELS = """
    ada asm awk bash bat batch bibtex c c# c++ clojure cmake cmd console cpp cs csharp css
    csv cuda cxx cython dart diff docker dockerfile elixir erlang fish fortran fsharp go
    golang gradle graphql groovy h haskell hcl hpp hs html http ini java javascript jinja js
    json json5 jsonc jsonl jsx julia kotlin less lisp lua make makefile markdown matlab md
    nginx nim nix objc objective-c ocaml pascal perl php plain plaintext powershell
    properties proto protobuf ps1 py python python3 r rb regex ruby rs rust sass scala
    scheme scss sh shell sql svelte swift terraform text toml ts tsx txt typescript vb
    verilog vim vue xml yaml yml zig zsh
"""
_COLOURED = frozenset(_LABELS.split())
# What readers may take for mathematics. JupyterLab looks for its end behind any code in between.
_MATHEMATICS = re.compile(r"\$|\\[(\[]")
_TEX = re.compile(r"[$\\]")
_RULE = re.compile(r"-{3,} *")
# What is found in code as well, and what it becomes: cells and inline code that are run (knitr
# looks at single lines, so that a longer fence around them does not help), and shortcodes.
_ARMED = (
    (re.compile(r"```(?=[^\S\n]*\{)"), "`` `"),
    (re.compile(r"`(?=\{|r[ #])"), "` "),
    (re.compile(r"\{\{(?=[<%])"), "{{ "),
)


class _Part(NamedTuple):
    """Lines that are one block of fenced code, its fences included, or that are none."""

    lines: list[str]
    is_code: bool


def inert(text: str) -> str:
    """Markdown that shows `text` and does nothing: the text itself, or it as code."""
    text = disarmed(cleaned(text).replace("\u2028", "\n").replace("\u2029", "\n\n").strip("\n"))
    parts = [part if part.is_code else _ruled(part) for part in _parts(text)]
    return "\n".join(_joined(parts)) if _is_harmless(parts) else _as_code(text)


def disarmed(text: str) -> str:
    """The text without what is run or replaced wherever it stands, in code as well."""
    for armed, harmless in _ARMED:
        text = armed.sub(harmless, text)
    return text


def _parts(text: str) -> list[_Part]:
    """The text, cut at its fences if every reader cuts it there, else as one part of no code.

    They do where the fences stand at the margin, are of one length, are closed, and nothing
    else in the text looks like one.
    """
    parts, fence = [_Part([], is_code=False)], ""
    whole = [_Part(text.split("\n"), is_code=False)]
    for line in whole[0].lines:
        opening = _FENCE.fullmatch(line)
        if parts[-1].is_code:
            parts[-1].lines.append(line)
            if line.lstrip().startswith(fence):
                if line.rstrip(" ") != fence:
                    return whole
                parts.append(_Part([], is_code=False))
        elif opening and opening[1] == (fence or opening[1]):
            fence = opening[1]
            parts.append(_Part([line], is_code=True))
        elif _FENCES.search(line):
            return whole
        else:
            parts[-1].lines.append(line)
    return whole if parts[-1].is_code else parts


def _is_harmless(parts: list[_Part]) -> bool:
    words = "\n".join(line for part in parts if not part.is_code for line in part.lines)
    codes = ["\n".join(part.lines) for part in parts if part.is_code]
    openings = [words, *(part.lines[0] for part in parts if part.is_code)]
    labels = {label.strip().lower() for line in openings for label in _FENCES.findall(line)}
    if _ALIVE.search(words) or not labels <= {"", *_COLOURED}:
        return False
    if _MATHEMATICS.search(words) and any(_TEX.search(code) for code in codes):
        return False
    return not any(_is_dashed(line) for line in words.split("\n"))


def _is_dashed(line: str) -> bool:
    """Whether it may begin or end metadata, or a table that goes on across empty lines."""
    marks = line.strip().lstrip("> \t")
    return marks.endswith("---") or (marks != "" and not marks.strip("- \t"))


def _ruled(part: _Part) -> _Part:
    """The part with its rules as stars: three dashes begin metadata."""
    if any(_FENCES.search(line) for line in part.lines):
        return part  # they may be code
    pairs = itertools.pairwise(["", *part.lines])
    rules = (not above.strip(" \t") and _RULE.fullmatch(line) for above, line in pairs)
    lines = ["***" if is_rule else line for is_rule, line in zip(rules, part.lines, strict=True)]
    return _Part(lines, is_code=False)


def _joined(parts: list[_Part]) -> Iterator[str]:
    """The lines so that all readers agree where code begins."""
    before = ""
    for part in parts:
        if part.is_code and before.strip(" \t"):
            yield ""
        yield from part.lines
        before = part.lines[-1] if part.lines else before


def _as_code(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"[`~]+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
