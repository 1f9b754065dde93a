"""A family of models: how its members write thinking and calls."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from server.chat.forms import Form
from server.chat.harmony import ASSISTANT_START
from server.chat.reasoning import Tags
from server.chat.spelling import Spelling

_JINJA = re.compile(r"\{[{%].*?[}%]\}", re.DOTALL)
_TOOLS = re.compile(r"\btools\b")
_THINKING_WORDS = ("enable_thinking", "reasoning_content", "reasoning_effort")


class Capabilities(NamedTuple):
    """What a template lets its model do."""

    has_tools: bool
    has_thinking: bool


@dataclass(frozen=True, slots=True)
class Family:
    """`signs`: texts of which each tells the family, in a template or among the control
    tokens. `markers`: the control tokens that the engine must write out for its replies
    to be read. `marks`: all texts that may be tokens of their own.
    `lead` and `trail` are texts around calls that say nothing.
    """

    name: str
    signs: tuple[str, ...]
    spelling: Spelling
    forms: tuple[Form, ...] = ()
    lead: tuple[str, ...] = ()
    trail: tuple[str, ...] = ()
    thinking: tuple[Tags, ...] = ()
    marks: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    is_harmony: bool = False

    def capabilities(self, template: str | None) -> Capabilities:
        """What the template's text shows: it uses `tools`, it knows of thinking."""
        text = template or ""
        words = [*_THINKING_WORDS, *(tag for tags in self.thinking for tag in tags)]
        return Capabilities(
            has_tools=any(_TOOLS.search(code) for code in _JINJA.findall(text)),
            has_thinking=self.is_harmony or any(word in text for word in words),
        )

    def starts_thinking(self, rendered_prompt_tail: str) -> bool:
        """Whether the prompt ends with an open thinking tag, so that the reply begins inside."""
        tail = rendered_prompt_tail.rstrip()
        return any(tail.endswith(opening.rstrip()) for opening, _ in self.thinking)

    def opened(self, rendered_prompt_tail: str) -> str:
        """What the prompt has written of the reply itself: in harmony, of its header."""
        _, start, opened = rendered_prompt_tail.rpartition(ASSISTANT_START)
        return opened if self.is_harmony and start else ""
