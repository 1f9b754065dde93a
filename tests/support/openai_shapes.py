"""Replies of OpenAI's API held against the types of the official client, and put together from
their streams."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)

# What we say beyond the official types.
OURS = {"reasoning", "truncated", "shifted"}


def events_of(text: str) -> list[dict[str, Any]]:
    """The objects of a stream that ends as it should: `data: {…}` each, `[DONE]` last."""
    *frames, rest = text.split("\n\n")
    assert rest == "" and all(frame.startswith("data: ") for frame in frames)
    assert frames[-1] == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


def completion(reply: Any) -> ChatCompletion:
    """A whole chat reply; the types accept it and know all its fields but ours."""
    return _checked(ChatCompletion, reply)


def chunks(replies: Sequence[Any]) -> list[ChatCompletionChunk]:
    """The objects of a chat stream."""
    return [_checked(ChatCompletionChunk, reply) for reply in replies]


def text_completion(reply: Any) -> Completion:
    """A whole text reply."""
    return _checked(Completion, reply)


def embeddings(reply: Any) -> CreateEmbeddingResponse:
    """A reply with vectors as numbers."""
    return _checked(CreateEmbeddingResponse, reply)


def model(reply: Any) -> Model:
    """A model of the list."""
    return _checked(Model, reply)


def _checked(kind: type[T], reply: Any) -> T:
    made = kind.model_validate(reply)
    assert set(_extras(made)) <= OURS
    return made


def _extras(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _extras(item)
