"""Objects held against the types of the official clients."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

T = TypeVar("T", bound=BaseModel)

# Fields that we send beyond those of the types: the first three are in OpenAI's
# description of its API, the last is ours.
MORE = {"frequency_penalty", "presence_penalty", "store", "truncated"}


def checked(kind: type[T], value: Any) -> T:
    """The value as the client's type, which accepts it and knows each of its fields."""
    made = kind.model_validate(value)
    assert set(_extras(made)) <= MORE
    return made


def checked_event(union: TypeAdapter[Any], value: Any) -> Any:
    """The same for a union of types."""
    made = union.validate_python(value)
    assert set(_extras(made)) <= MORE
    return made


def _extras(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _extras(item)
