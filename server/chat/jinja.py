"""The Jinja that chat templates are written in: a sandbox with what they may call."""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.models.jinja_syntax import EXTENSIONS

# A private-use character of the planes 15 and 16, as JSON escapes it.
_ESCAPED = re.compile(r"\\ud[bB][89a-fA-F][0-9a-fA-F]\\ud[c-fC-F][0-9a-fA-F]{2}")


class TemplateRefused(Exception):
    """The template itself said no (`raise_exception`)."""


@lru_cache(maxsize=64)
def compile_template(source: str) -> jinja2.Template:
    """The template, kept. Raises `jinja2.TemplateSyntaxError`, `RecursionError`."""
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=EXTENSIONS
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
