"""JSON whose texts come from others, read and written without a failure over one character.

Programs that keep text as UTF-16 cut characters in two and write each half as an escape, and
models write whatever bytes they like. Neither can be kept as UTF-8: both become U+FFFD here, as
in Go and in JavaScript.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from toolkit.safetext import well_formed

T = TypeVar("T")

# A pair of surrogates, half a pair, or any other escape: the first that fits, from the left.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)


@overload
def decoded(data: bytes | str) -> Any: ...
@overload
def decoded(data: bytes | str, kind: type[T]) -> T: ...
def decoded(data: bytes | str, kind: Any = Any) -> Any:
    """The value of a JSON text. Raises `msgspec.DecodeError` for what is none, and
    `msgspec.ValidationError` (one of those) for a value of another kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeError):
        return msgspec.json.decode(mended(data), type=kind)


def encoded(value: object, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Any value as JSON, in UTF-8. `enc_hook` makes something known of what JSON has not."""
    try:
        return msgspec.json.encode(value, enc_hook=enc_hook)
    except UnicodeEncodeError:
        return msgspec.json.encode(_well_formed(msgspec.to_builtins(value, enc_hook=enc_hook)))


def mended(data: bytes | str) -> bytes:
    """JSON in which nothing is that UTF-8 cannot hold; all else stays as it is."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    return _ESCAPE.sub(
        lambda found: b"\\ufffd" if found["half"] else found[0], well_formed(text).encode()
    )


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list | tuple):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    return value
