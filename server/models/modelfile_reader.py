"""Reading a Modelfile: what a person writes to make a model.

Instructions in any case, one a line, values bare, in quotes or in three quotes over several
lines. Errors are Ollama's, with the line.
"""

from typing import NamedTuple

import msgspec

from server.errors import InvalidRequest
from server.models.manifest import Message

MAX_BYTES = 1 << 20
COMMANDS = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)
ROLES = ("system", "user", "assistant")
_QUOTES = '"""'


class ModelfileError(InvalidRequest):
    """A text that is no Modelfile; the message says in which line."""

    code = "invalid_modelfile"

    def __init__(self, message: str, line: int = 0) -> None:
        where = f"(line {line}): " if line else ""
        super().__init__(f"{where}{message}")
        self.line = line


class Instruction(NamedTuple):
    """One instruction: `name` in lower case, for PARAMETER and MESSAGE the rest in `key`."""

    name: str
    key: str
    value: str
    line: int


class Modelfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a Modelfile says. Texts as they stand; nothing of it is looked up."""

    sources: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    template: str | None = None
    system: str | None = None
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()


def parse(text: str) -> Modelfile:
    """Read a Modelfile. Raises `ModelfileError`."""
    if len(text) > MAX_BYTES:
        raise ModelfileError(f"a Modelfile has at most {MAX_BYTES} characters")
    found = instructions(text)
    sources = _values(found, "from")
    if not sources:
        raise ModelfileError("no FROM line")
    for name in ("renderer", "parser", "requires"):
        for one in found:
            if one.name == name:
                raise ModelfileError(f"{name.upper()} is not supported", one.line)
    return Modelfile(
        sources=sources,
        adapters=_values(found, "adapter"),
        parameters=tuple((one.key, one.value) for one in found if one.name == "parameter"),
        template=_last(found, "template"),
        system=_last(found, "system"),
        messages=tuple(Message(one.key, one.value) for one in found if one.name == "message"),
        licenses=_values(found, "license"),
    )


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Modelfile in order. Raises `ModelfileError`."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    found = []
    at = 0
    while at < len(lines):
        start, line = at, lines[at].lstrip()
        at += 1
        if not line or line.startswith("#"):
            continue
        instruction, rest = _begin(line, start + 1)
        value, at = _value(rest, lines, at, start + 1)
        found.append(instruction._replace(value=value))
    return found


def _begin(line: str, number: int) -> tuple[Instruction, str]:
    """The name and the key of an instruction, and the text where its value begins."""
    name, rest = _word(line)
    name = name.lower()
    if name not in COMMANDS:
        known = ", ".join(f'"{command}"' for command in COMMANDS)
        raise ModelfileError(f"command must be one of {known}", number)
    key = ""
    if name in ("parameter", "message"):
        key, rest = _word(rest)
        key = key.lower()
    if name == "message" and key not in ROLES:
        raise ModelfileError('message role must be one of "system", "user", or "assistant"', number)
    return Instruction(name, key, "", number), rest


def _value(rest: str, lines: list[str], at: int, number: int) -> tuple[str, int]:
    """The value that begins with `rest`, and the line after it."""
    if rest.startswith(_QUOTES):
        return _long(rest, lines, at, number)
    rest = rest.strip()
    if not rest:
        raise ModelfileError("unexpected end of the line: a value is missing", number)
    if rest.startswith('"'):
        if len(rest) < 2 or not rest.endswith('"'):
            raise ModelfileError("a quote is not closed", number)
        return rest[1:-1], at
    return rest, at


def _long(rest: str, lines: list[str], at: int, number: int) -> tuple[str, int]:
    """A text in three quotes; it ends where the next three are the end of a line."""
    text = rest.removeprefix(_QUOTES)
    while not text.rstrip().endswith(_QUOTES):
        if at == len(lines):
            raise ModelfileError("three quotes are not closed", number)
        text += "\n" + lines[at]
        at += 1
    return text.rstrip().removesuffix(_QUOTES), at


def _word(text: str) -> tuple[str, str]:
    word, *rest = [*text.split(None, 1), ""]
    return word, rest[0] if rest else ""


def _values(found: list[Instruction], name: str) -> tuple[str, ...]:
    return tuple(one.value for one in found if one.name == name)


def _last(found: list[Instruction], name: str) -> str | None:
    values = _values(found, name)
    return values[-1] if values else None
