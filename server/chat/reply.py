"""Provisional: replaced by the reply parsers."""
# ruff: noqa: ARG001

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.chat.tools import Tool, ToolCall
from server.engine.types import Grammar


class Content(msgspec.Struct, frozen=True):
    """Text of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """Text that the model thinks."""

    text: str


Part = Content | Thought | ToolCall


class Family(NamedTuple):
    """How a template's model writes."""

    name: str
    markers: tuple[str, ...] = ()

    def capabilities(self, template: str | None) -> tuple[bool, bool]:
        """Whether it has tools, and thinking."""
        return False, False

    def starts_thinking(self, tail: str) -> bool:
        """Whether a prompt ends inside a thought."""
        return False


class ReplyParser:
    """Reads one reply."""

    def __init__(
        self, family: Family, *, tools: Sequence[Tool], is_thinking: bool, expects_thinking: bool
    ) -> None:
        pass

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        return [Content(text)]

    def finish(self) -> list[Part]:
        """The rest."""
        return []


def family_of(template: str | None, control_tokens: Sequence[str]) -> Family:
    """The family of a template."""
    return Family("plain")


def forced_call(
    family: Family, tools: Sequence[Tool], *, parallel: bool, is_thinking: bool, may_think: bool
) -> Grammar:
    """What only allows calls."""
    return Grammar("json")


def after_thinking(grammar: Grammar, family: Family, *, is_thinking: bool) -> Grammar:
    """A format that holds behind the thoughts."""
    return grammar
