"""The Jinja that chat templates are written in: a sandbox with what they may call."""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A private-use character of the planes 15 and 16, as JSON escapes it.
_ESCAPED = re.compile(r"\\ud[bB][89a-fA-F][0-9a-fA-F]\\ud[c-fC-F][0-9a-fA-F]{2}")


class TemplateRefused(Exception):
    """The template itself said no (`raise_exception`)."""


@lru_cache(maxsize=64)
def compile_template(source: str) -> jinja2.Template:
    """The template, kept. Raises `jinja2.TemplateSyntaxError`, `RecursionError`."""
    return _environment().from_string(source)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: what a model said, marked for training. Only
    the body counts here."""

    tags = {"generation"}  # noqa: RUF012 - so declared by the base class

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
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
    """JSON without the HTML escapes of Jinja's own filter, which would change the prompt.

    Private-use characters stand for something (see `server.chat.guard`) and stay.
    """
    text = json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
    return _ESCAPED.sub(_unescape, text) if ensure_ascii else text


def _unescape(match: re.Match[str]) -> str:
    return str(json.loads(f'"{match.group()}"'))
