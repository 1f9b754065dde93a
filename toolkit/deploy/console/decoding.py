"""JSON from the Console into types: a null is a field that is not there.

The API is partly Go, which sends null for empty maps and lists, and grows fields without
notice. So nulls are taken out wherever they stand, and unknown fields are passed over;
what is then missing and needed, or of another type, is an error.
"""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Data(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of most answers."""

    data: T


class Unreadable(ValueError):
    """This is not the answer that belongs here; says where, not what it was."""


def decode(body: bytes, into: type[T]) -> T:
    """The answer as `into`. Raises `Unreadable` for anything else."""
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(body)), into)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value if part is not None]
    return value
