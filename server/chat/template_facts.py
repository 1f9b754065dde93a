"""What a chat template can do, found out by rendering small conversations with it."""

import jinja2
import msgspec

from server.chat.habits import CANARY, FUNCTION, PROBE_TOOL, habits, probe
from server.chat.jinja import compile_template
from server.chat.messages import SYSTEM, USER, Conversation, Effort, Message
from server.chat.template import OTHERWISE, ChatTemplate, thinking_variables
from server.errors import ModelUnusable

# Between which texts models think, as the templates of the families write them.
_TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
)


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a template can do.

    `has_tools`: definitions of tools come through. `has_thinking`: it knows of thinking;
    between `thinking_tags` if they are known. `can_disable_thinking`: `thinking` False
    changes what it writes. `has_effort`: so does the effort. The last three say whether the
    prompt ends inside of a thought, for each `thinking` of a conversation.
    """

    has_tools: bool = False
    has_thinking: bool = False
    can_disable_thinking: bool = False
    has_effort: bool = False
    thinking_tags: tuple[str, str] | None = None
    opens_by_default: bool = False
    opens_when_on: bool = False
    opens_when_off: bool = False

    def starts_inside(self, thinking: bool | None) -> bool:
        """Whether a reply begins inside of a thought, without an opening tag of its own."""
        if thinking is None:
            return self.opens_by_default
        return self.opens_when_on if thinking else self.opens_when_off


def describe(template: ChatTemplate) -> TemplateFacts:
    """What the template can do. Raises `ModelUnusable` if it is broken."""
    source = template.source_for(has_tools=False)
    try:
        for each in (source, template.source_for(has_tools=True)):
            compile_template(each)
    except jinja2.TemplateSyntaxError as error:
        raise ModelUnusable(
            f"the model's chat template is broken: {error}", hint=OTHERWISE
        ) from None
    by_default, on, off = (_prompt(source, thinking) for thinking in (None, True, False))
    tags = next((pair for pair in _TAGS if any(tag in source for tag in pair)), None)
    opening = tags[0] if tags else ""
    has_effort = _prompt(source, True, "low") != _prompt(source, True, "high")
    can_disable = off not in (on, "")
    return TemplateFacts(
        has_tools=_has_tools(template.source_for(has_tools=True)),
        has_thinking=tags is not None or can_disable or has_effort,
        can_disable_thinking=can_disable,
        has_effort=has_effort,
        thinking_tags=tags,
        opens_by_default=_ends_with(by_default, opening),
        opens_when_on=_ends_with(on, opening),
        opens_when_off=_ends_with(off, opening),
    )


def _prompt(source: str, thinking: bool | None, effort: Effort | None = None) -> str:
    """A conversation with a system text, which some templates put theirs in place of, and
    one without, up to where the reply begins."""
    said = (Message(role=SYSTEM, content=CANARY), Message(role=USER, content=CANARY))
    variables = thinking_variables(Conversation(messages=said, thinking=thinking, effort=effort))
    shape = habits(source)
    return "".join(probe(source, list(each), shape, **variables) for each in (said, said[1:]))


def _has_tools(source: str) -> bool:
    said = [Message(role=USER, content=CANARY)]
    return FUNCTION in probe(source, said, habits(source), tools=[PROBE_TOOL])


def _ends_with(text: str, tag: str) -> bool:
    return bool(tag) and text.rstrip().endswith(tag)
