"""How a reply to a conversation is read, and what it is held to.

The family of the model's chat template says how it writes thoughts and calls; a format
holds only for the answer behind the thoughts, and a call that must be made is held to
the family's own form and the function's schema.
"""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from server.api.prompt import Prompt
from server.api.reader import Reader
from server.api.requests import ChatRequest
from server.chat.begun import Begun
from server.chat.families import family_of
from server.chat.family import Family
from server.chat.grammars import for_answer, forced_call, go_on
from server.chat.reply import ReplyParser
from server.chat.template import ChatTemplate
from server.engine.types import Grammar, PromptRead
from server.errors import InvalidRequest


class Turn(NamedTuple):
    """A prompt, and how its reply is read. `grammar`, `markers` and `images` as in
    `engine.types.Request`."""

    prompt: Prompt
    reader: Reader
    grammar: Grammar | None = None
    markers: tuple[str, ...] = ()
    images: tuple[bytes, ...] = ()

    def read(self, prompt: PromptRead) -> "Turn":
        """The same with the tokens of its prompt."""
        return self._replace(prompt=msgspec.structs.replace(self.prompt, tokens=prompt.tokens))


class Manner(NamedTuple):
    """What a chat template makes of a model."""

    family: Family
    has_tools: bool
    has_thinking: bool


@lru_cache(maxsize=64)
def manner_of(template: str | None, control_tokens: tuple[str, ...] = ()) -> Manner:
    """What the template's text says about its replies; which of its marks are control
    tokens is known of a loaded model only."""
    family = family_of(template, control_tokens)
    has_tools, has_thinking = family.capabilities(template)
    return Manner(family, has_tools, has_thinking)


def chat_turn(request: ChatRequest, template: ChatTemplate, made: Prompt) -> Turn:
    """The turn that follows a prompt. Raises `InvalidRequest` for a choice that is none."""
    family, _, has_thinking = manner_of(
        template.tool_source or template.source, template.control_tokens
    )
    tool_use = request.tool_use
    form = request.generation.format
    if not tool_use.shown and not has_thinking:
        return Turn(made, Reader(), form and go_on(form, made.given), images=request.images)
    is_thinking = family.starts_thinking(made.tail)
    parser = ReplyParser(
        family, tools=tool_use.shown, is_thinking=is_thinking, expects_thinking=has_thinking
    )
    begun = parser.go_on(family.opened(made.tail), made.given)
    reader = Reader(parser, most_calls=None if tool_use.is_parallel else 1)
    may_think = has_thinking and request.think is not False
    grammar = _grammar(request, family, begun, may_think=may_think)
    return Turn(made, reader, grammar, family.markers, request.images)


def _grammar(
    request: ChatRequest, family: Family, begun: Begun, *, may_think: bool
) -> Grammar | None:
    tool_use, form = request.tool_use, request.generation.format
    if tool_use.choice == "required":
        if not tool_use.forced:
            name = tool_use.name
            raise InvalidRequest(
                f"tool_choice: there is no tool {name!r}" if name else "tool_choice needs tools"
            )
        return forced_call(
            family,
            tool_use.forced,
            parallel=tool_use.is_parallel,
            begun=begun,
            may_think=may_think,
        )
    return form and for_answer(form, family, begun, may_think=may_think)
