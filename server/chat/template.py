"""Chat templates: a conversation becomes prompt text, with the user's part kept apart.

The template is the Jinja text that a GGUF carries, run in Jinja's sandbox. Control
tokens count only where the template wrote them: before rendering, every one inside a
message is replaced by a private-use character, and afterwards the text is cut there.
Pure text: nothing here knows a model or a tokenizer.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.chat.messages import Message
from server.engine.types import Segment
from server.errors import InvalidRequest, ModelUnusable

PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_PRIVATE_USE = range(0xF0000, 0xFFFFE)


class TemplateRefused(Exception):
    """The template itself said no (`raise_exception`)."""


class ChatTemplate(NamedTuple):
    """What rendering needs to know of a model. `source` None: it brings no template."""

    source: str | None
    bos: str = ""
    eos: str = ""
    control_tokens: tuple[str, ...] = ()


async def render(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    tools: Sequence[dict[str, Any]] = (),
    add_generation_prompt: bool = True,
) -> list[Segment]:
    """The prompt of a conversation, in pieces that are or are not to be read as control text.

    Raises `InvalidRequest` if the template refuses the conversation, `ModelUnusable` if
    the template is broken.
    """
    plain = [message.for_template() for message in messages]
    return await asyncio.to_thread(
        _render, template, plain, [dict(tool) for tool in tools], add_generation_prompt
    )


def _render(
    template: ChatTemplate,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    add_generation_prompt: bool,
) -> list[Segment]:
    try:
        guard = _Guard(template.control_tokens, [messages, tools])
        variables = {
            "messages": guard.hide(messages),
            "tools": guard.hide(tools) or None,
            "bos_token": template.bos,
            "eos_token": template.eos,
            "add_generation_prompt": add_generation_prompt,
        }
        text = _compile(template.source or PLAIN).render(variables)
    except TemplateRefused as error:
        raise InvalidRequest(f"the model's chat template refused: {error}") from None
    except jinja2.TemplateSyntaxError as error:
        raise ModelUnusable(
            f"the model's chat template is broken: {error}", hint="use raw or another model"
        ) from None
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InvalidRequest(f"the model's chat template failed: {error}") from None
    except (RecursionError, MemoryError, OverflowError):
        raise InvalidRequest("the model's chat template failed: it needs too much room") from None
    return guard.split(text)


class _Guard:
    """Keeps control tokens in the user's text from becoming control tokens.

    A text that ends like the beginning of one is broken up too, so that two texts
    side by side cannot make one.
    """

    def __init__(self, tokens: Sequence[str], values: Any) -> None:
        self._tokens = _pattern(tuple(tokens))
        self._used = set(_private_use(values))
        self._stand_ins: dict[str, str] = {}

    def hide(self, value: Any) -> Any:
        """The value with a stand-in for each control token in each of its texts."""
        if isinstance(value, str):
            return self._hide_text(value)
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        if isinstance(value, dict):
            return {self._hide_key(key): self.hide(item) for key, item in value.items()}
        return value

    def split(self, text: str) -> list[Segment]:
        """Cut rendered text at the stand-ins and put back what they stand for."""
        if not self._stand_ins:
            return [Segment(text)] if text else []
        meant = {stand_in: token for token, stand_in in self._stand_ins.items()}
        parts = re.split("([" + "".join(meant) + "])", text)
        return [Segment(meant.get(part, part), special=part not in meant) for part in parts if part]

    def _hide_key(self, text: str) -> str:
        if self._tokens is None:
            return text
        return self._tokens.whole.sub(lambda match: self._stand_in(match.group()), text)

    def _hide_text(self, text: str) -> str:
        if self._tokens is None:
            return text
        hidden = self._hide_key(text)
        tail = self._tokens.beginning(hidden)
        return hidden[: -len(tail)] + self._stand_in(tail) if tail else hidden

    def _stand_in(self, token: str) -> str:
        if token not in self._stand_ins:
            free = next(chr(c) for c in _PRIVATE_USE if chr(c) not in self._used)
            self._used.add(free)
            self._stand_ins[token] = free
        return self._stand_ins[token]


class _Tokens(NamedTuple):
    whole: re.Pattern[str]
    beginnings: frozenset[str]
    longest: int

    def beginning(self, text: str) -> str:
        """The longest proper beginning of a control token that `text` ends with."""
        for length in range(min(self.longest, len(text)), 0, -1):
            if text[-length:] in self.beginnings:
                return text[-length:]
        return ""


@lru_cache(maxsize=16)
def _pattern(tokens: tuple[str, ...]) -> _Tokens | None:
    wanted = sorted({token for token in tokens if token}, key=len, reverse=True)
    if not wanted:
        return None
    beginnings = {token[:length] for token in wanted for length in range(1, len(token))}
    longest = max(map(len, beginnings), default=0)
    return _Tokens(re.compile("|".join(map(re.escape, wanted))), frozenset(beginnings), longest)


def _private_use(value: Any) -> set[str]:
    """The private-use characters that occur already: they must not stand for anything."""
    if isinstance(value, str):
        return set() if value.isascii() else {c for c in value if ord(c) in _PRIVATE_USE}
    if isinstance(value, dict):
        return _private_use([*value.keys(), *value.values()])
    if isinstance(value, list):
        return set().union(*map(_private_use, value))
    return set()


@lru_cache(maxsize=64)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.filters["tojson"] = _tojson
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefused(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of Jinja's own filter, which would change the prompt."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
