"""Grammars for replies: calls that must be made, and formats that begin behind thinking.

They are written in llguidance's kind of Lark. A mark such as `<tool_call>` is a token of
its own in some vocabularies and plain text in others, which only the engine knows: the
text refers to it as `marker_0`, … (see `Grammar.markers`).
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from server.chat.begun import Begun
from server.chat.family import Family
from server.chat.harmony import ASSISTANT_START, CHANNEL, END, MESSAGE
from server.chat.reasoning import Tags
from server.chat.scanning import one_of
from server.chat.spelling import AS_OBJECTS, Maybe, OneOf, Pieces, Schema, TextUntil
from server.chat.tools import Tool
from server.engine.types import Grammar
from server.errors import InvalidRequest

# Space that models put between thinking and what follows: bounded, or they could go on.
_SPACE = r"/[ \t\r\n]{0,8}/"
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def forced_call(
    family: Family, tools: Sequence[Tool], *, parallel: bool, begun: Begun, may_think: bool
) -> Grammar:
    """Under this grammar a model can only call: one of `tools` (not none), or (`parallel`)
    several, in the family's own form and with arguments by each tool's schema.

    Thinking that the prompt has opened goes on first; where it has not, the model may think.
    An answer that has begun ends there.
    """
    writer = _Writer(family.marks)
    spelling = family.spelling if all(map(family.spelling.fits, tools)) else AS_OBJECTS
    calls = " | ".join(
        writer.rule(f"call_{at}", writer.pieces(spelling.call(tool)))
        for at, tool in enumerate(tools)
    )
    call = writer.rule("call", calls)
    several = call
    if parallel and spelling.between is not None:
        several += f" ({writer.text(spelling.between)} {call})*"
    start = f"{writer.text(spelling.before)} {several} {writer.text(spelling.after)}"
    thinking = _thinking(writer, family, begun, may_think=may_think)
    end = f"{END}{ASSISTANT_START}" if family.is_harmony and begun.answer is not None else ""
    return writer.grammar(f"{writer.text(end)} {thinking} {start}")


def for_answer(grammar: Grammar, family: Family, begun: Begun, *, may_think: bool) -> Grammar:
    """The format for an answer, which may have begun, as a whole; thinking in front of it is
    free. Where the prompt has not opened any, it is the model's choice if it `may_think`."""
    if begun.answer is not None:
        return go_on(grammar, begun.answer)
    is_plain = not family.thinking or not (may_think or begun.is_thinking)
    if is_plain and not family.is_harmony:
        return grammar
    writer = _Writer(family.marks)
    thinking = _thinking(writer, family, begun, may_think=may_think)
    channel = writer.text(f"{CHANNEL}final{MESSAGE}") if family.is_harmony else ""
    return writer.grammar(f"{thinking} {channel} {_nested(grammar)}")


def go_on(grammar: Grammar, given: str) -> Grammar:
    """The format for a text that begins with what is given; space in front is no part of it."""
    return msgspec.structs.replace(grammar, given=given.lstrip())


class _Writer:
    """Collects rules and the marks that they refer to."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._split = re.compile(f"({one_of(marks)})")
        self._marks = frozenset(marks)
        self._markers: list[str] = []
        self._rules: list[str] = []

    def grammar(self, start: str) -> Grammar:
        rules = [f"start: {start}", *self._rules]
        return Grammar("lark", "\n".join(rules) + "\n", markers=tuple(self._markers))

    def rule(self, name: str, body: str) -> str:
        """A rule of its own; its name."""
        self._rules.append(f"{name}: {body}")
        return name

    def text(self, text: str) -> str:
        """Text as it is to be written, marks in it as such."""
        parts = [part for part in self._split.split(text) if part]
        return " ".join(self._marker(p) if p in self._marks else _literal(p) for p in parts)

    def until(self, end: str) -> str:
        """Any text up to and including `end`, which may begin with a token."""
        head, *rest = [part for part in self._split.split(end) if part]
        if head not in self._marks:
            head, rest = end, []
        until = self._marker(head).replace("marker", "until")
        return " ".join([until, *(self.text(part) for part in rest)])

    def pieces(self, pieces: Pieces) -> str:
        """Pieces one after the other."""
        return " ".join(map(self._piece, pieces))

    def _piece(self, piece: Any) -> str:
        match piece:
            case Schema(schema):
                return as_json(schema)
            case TextUntil(end):
                return self.until(end)
            case OneOf(texts):
                return f"({' | '.join(map(_literal, texts))})"
            case Maybe(pieces):
                return f"({self.pieces(pieces)})?"
        return self.text(piece)

    def _marker(self, mark: str) -> str:
        if mark not in self._markers:
            self._markers.append(mark)
        return f"marker_{self._markers.index(mark)}"


def _thinking(writer: _Writer, family: Family, begun: Begun, *, may_think: bool) -> str:
    if begun.answer is not None:
        return ""
    if family.is_harmony:
        return _analysis(writer, begun) if may_think or begun.is_thinking else ""
    if begun.is_thinking:
        closings = dict.fromkeys(closing for _, closing in family.thinking)
        return f"({' | '.join(map(writer.until, closings))}) {_SPACE}"
    if not may_think or not family.thinking:
        return ""
    return f"({' | '.join(_opened(writer, tags) for tags in family.thinking)})?"


def _opened(writer: _Writer, tags: Tags) -> str:
    opening, closing = tags
    return f"{writer.text(opening)} {writer.until(closing)} {_SPACE}"


def _analysis(writer: _Writer, begun: Begun) -> str:
    rest = f"{writer.until(END)} {writer.text(ASSISTANT_START)}"
    if begun.is_thinking:
        return rest
    return f"({writer.text(f'{CHANNEL}analysis{MESSAGE}')} {rest})?"


def _nested(grammar: Grammar) -> str:
    match grammar.kind:
        case "json":
            return as_json(_ANY_OBJECT)
        case "schema":
            return f"%json {grammar.text}"
        case "regex":
            return _regex(grammar.text)
        case "lark":
            return f"%lark {{\n{grammar.text}\n}}"
        case "gbnf":
            return f"%lark {{\n{_from_gbnf(grammar.text)}\n}}"


def as_json(schema: dict[str, Any]) -> str:
    return f"%json {json.dumps(schema, ensure_ascii=False)}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _regex(pattern: str) -> str:
    """The pattern between slashes."""
    inner = re.sub(r"\\.|/", lambda m: m[0] if len(m[0]) > 1 else "\\/", pattern, flags=re.DOTALL)
    return "/" + inner.replace("\n", "\\n") + "/"


def _from_gbnf(text: str) -> str:
    """The same in Lark's notation. Raises `InvalidRequest` if it is no GBNF."""
    # Only where a grammar is used: a gateway comes without llguidance.
    from llguidance import grammar_from

    try:
        return grammar_from("gbnf", text)
    except ValueError as error:
        raise InvalidRequest(f"format is not a GBNF grammar: {error}") from None
