"""Chat templates: a conversation becomes prompt text, with the user's part kept apart.

The template is the Jinja text that a GGUF carries. What is here is pure and may take for
ever: templates are hostile, so only `server.chat.render_worker` runs it, in a process that
`server.chat.renderer` ends when it takes too long.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import jinja2
import msgspec

from server.chat.guard import Guard, NoStandIn
from server.chat.habits import FAULTS, habits
from server.chat.jinja import TemplateRefused, compile_template
from server.chat.messages import IMAGE_MARKER, Conversation
from server.chat.shapes import Shape, shaped
from server.engine.types import Segment
from server.errors import InvalidRequest, ModelUnusable

PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
OTHERWISE = "use another model, or generate with raw and a prompt of your own"


class ChatTemplate(msgspec.Struct, frozen=True, array_like=True):
    """What rendering needs to know of a model. `source` None: it brings no template.
    `tool_source` is the one that it brings for conversations with tools, if any."""

    source: str | None
    bos: str = ""
    eos: str = ""
    control_tokens: tuple[str, ...] = ()
    tool_source: str | None = None

    def source_for(self, *, has_tools: bool) -> str:
        """The template's text for a conversation with or without tools."""
        return (self.tool_source if has_tools else None) or self.source or PLAIN


def render(template: ChatTemplate, conversation: Conversation) -> list[Segment]:
    """The prompt of a conversation, in pieces that are or are not to be read as control text.

    Raises `InvalidRequest` if the template refuses the conversation or fails with it,
    `ModelUnusable` if the template is broken.
    """
    try:
        return _Rendering(template, conversation).segments()
    except TemplateRefused as error:
        raise InvalidRequest(f"the model's chat template refused: {error}") from None
    except jinja2.TemplateSyntaxError as error:
        raise ModelUnusable(
            f"the model's chat template is broken: {error}", hint=OTHERWISE
        ) from None
    except FAULTS as error:
        raise InvalidRequest(f"the model's chat template failed: {error}") from None
    except RecursionError:
        raise InvalidRequest("the model's chat template failed: it goes too deep") from None
    except NoStandIn:
        raise InvalidRequest("the messages use all private-use characters") from None


class _Rendering:
    """One conversation on its way through one template."""

    def __init__(self, template: ChatTemplate, conversation: Conversation) -> None:
        self._template = template
        self._conversation = conversation
        self._source = template.source_for(has_tools=bool(conversation.tools))
        self._program = compile_template(self._source)
        texts = [*shaped(conversation.messages, Shape()), *conversation.tools]
        own = [self._source, template.bos, template.eos]
        self._guard = Guard((*template.control_tokens, IMAGE_MARKER), [texts, own])
        self._image = self._end = ""
        if any(message.images for message in conversation.messages):
            self._image = self._guard.reserve(Segment(IMAGE_MARKER))

    def segments(self) -> list[Segment]:
        """The prompt in the first form that the template takes. Raises what it raised at the
        first one if it takes none."""
        first: Exception | None = None
        for messages in self._forms():
            try:
                return self._render(messages)
            except FAULTS as error:
                first = first or error
        raise first or TemplateRefused("it takes no conversation")

    def _forms(self) -> Iterator[list[dict[str, Any]]]:
        """The messages as the template is known to want them, then as it may want them when
        it refuses those."""
        tried: list[list[dict[str, Any]]] = []
        usual = habits(self._source)
        for changes in (
            {},
            {"no_thoughts": True},
            {"merge_turns": True},
            {"merge_turns": True, "fold_system": True},
            {"merge_turns": True, "fold_system": True, "no_thoughts": True},
        ):
            shape = msgspec.structs.replace(usual, **changes)
            messages = shaped(self._messages(), shape, self._image)
            if messages not in tried:
                tried.append(messages)
                yield messages

    def _messages(self) -> tuple[Any, ...]:
        """With something that marks where the reply goes on behind what it begins with."""
        *before, last = self._conversation.messages or (None,)
        if last is None or self._conversation.beginning is None:
            return self._conversation.messages
        self._end = self._end or self._guard.reserve(Segment(""))
        return (*before, msgspec.structs.replace(last, content=last.content + self._end))

    def _render(self, messages: list[dict[str, Any]]) -> list[Segment]:
        goes_on = self._conversation.beginning is not None
        text = self._guarded(messages, add_generation_prompt=not goes_on)
        if not goes_on:
            return self._guard.split(text)
        found = text.rfind(self._end)
        if found >= 0:
            return self._guard.split(text[:found])
        return self._render_before(messages)

    def _render_before(self, messages: list[dict[str, Any]]) -> list[Segment]:
        """For a template that leaves the beginning of the reply out: put behind the rest."""
        beginning = self._conversation.beginning
        text = self._guarded(messages[:-1], add_generation_prompt=True)
        own = beginning.content if beginning else ""
        return [*self._guard.split(text), *([Segment(own, special=False)] if own else [])]

    def _guarded(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        """Rendered text in which only the template's own control tokens are some.

        What a template does to a text (another case, parts left out) may make a token of
        what was none. Where that may be, the text is rendered once more from messages of
        which no part can become one; this counts if the tokens are not the same.
        """
        tools = list(self._conversation.tools)

        def run(values: list[Any]) -> str:
            return self._program.render(
                self._variables(values[0], values[1], add_generation_prompt)
            )

        hidden = self._guard.hide([messages, tools])
        text = run(hidden)
        if self._guard.is_risky:
            safe = run(self._guard.shred(hidden))
            text = text if self._guard.has_same_tokens(text, safe) else safe
        # A lone surrogate is in no text that a tokenizer takes.
        return text.encode(errors="replace").decode()

    def _variables(
        self, messages: list[Any], tools: list[Any], add_generation_prompt: bool
    ) -> dict[str, Any]:
        given: dict[str, Any] = {
            "messages": messages,
            "tools": tools or None,
            "documents": None,
            "bos_token": self._template.bos,
            "eos_token": self._template.eos,
            "add_generation_prompt": add_generation_prompt,
            "date_string": datetime.now().astimezone().strftime("%d %b %Y"),
        }
        return {**given, **thinking_variables(self._conversation)}


def thinking_variables(conversation: Conversation) -> dict[str, Any]:
    """What templates look at to think or not, under all of its names; nothing if the client
    left it to them."""
    found: dict[str, Any] = {}
    if conversation.thinking is not None:
        found["enable_thinking"] = found["thinking"] = conversation.thinking
    if conversation.effort is not None:
        found["reasoning_effort"] = conversation.effort
    return found
