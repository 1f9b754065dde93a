"""Objects held against the types of the official clients."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

T = TypeVar("T", bound=BaseModel)


def checked(kind: type[T], value: Any) -> T:
    """The value as the client's type, which accepts it and knows each of its fields."""
    made = kind.model_validate(value)
    assert list(_extras(made)) == []
    return made


def checked_event(union: Any, value: Any) -> Any:
    """The same for a union of types."""
    made = TypeAdapter(union).validate_python(value)
    assert list(_extras(made)) == []
    return made


def _extras(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _extras(item)
