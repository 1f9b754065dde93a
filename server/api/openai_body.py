"""A JSON body as one of OpenAI's requests. A mistake names the field that it is in."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from server.api import gojson
from server.api.openai_errors import InvalidField
from server.errors import InvalidRequest, Unsupported

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_TYPES = re.compile(r"^Expected `(?P<want>[^`]+)`, got `(?P<got>[^`]+)`")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]+)`")
_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}

# Fields that other servers know and this one does not have -> the values that ask for nothing.
# Left unsaid, the reply would not be what was asked for.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "modalities": (["text"],),
    "web_search_options": (),
    "moderation": (),
    "min_tokens": (0,),
    "use_beam_search": (False,),
    "length_penalty": (1, 1.0),
    "prompt_logprobs": (),
    "stop_token_ids": ([],),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "include_stop_str_in_output": (False,),
    "add_generation_prompt": (True,),
    "chat_template": (),
    "documents": ([],),
}


def decode(body: bytes, struct: type[T]) -> T:
    """The body as `struct`; null is as good as nothing, unknown fields are ignored.

    Raises `InvalidRequest` for what is no JSON object, `InvalidField` for a field of the wrong
    type, `Unsupported` for one of `UNSUPPORTED` that asks for something.
    """
    if not body.strip():
        raise InvalidRequest("missing request body")
    value = gojson.parse(body)
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    _check_supported(value)
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        raise _mistake(str(error)) from None


def _check_supported(body: Mapping[str, Any]) -> None:
    for name, neutral in UNSUPPORTED.items():
        value = body.get(name)
        if value is not None and value not in neutral:
            raise Unsupported(f"{name} is not supported")


def _mistake(text: str) -> InvalidField:
    """What the decoder found, in words of the wire."""
    found = _PATH.search(text)
    path = found.group("path") if found else ""
    if missing := _MISSING.match(text):
        path = f"{path}.{missing.group('name')}".lstrip(".")
        return InvalidField(path, f"{path} is required")
    types = _TYPES.match(text)
    if types is None:
        problem = text.partition(" - at `")[0]
        return InvalidField(path, f"{path}: {problem[:1].lower()}{problem[1:]}")
    wanted = [_NAMES.get(one, one) for one in types.group("want").split(" | ") if one != "null"]
    got = _NAMES.get(types.group("got"), types.group("got"))
    got = "a boolean" if types.group("got") == "bool" else got
    return InvalidField(path, f"{path} must be {' or '.join(wanted)}, not {got}")
