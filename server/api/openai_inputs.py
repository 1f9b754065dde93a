"""Texts and tokens in the four forms that OpenAI takes: a text, a list of texts, the tokens of
one, a list of those."""

from typing import Any, TypeGuard

from server.api.openai_errors import InvalidField

_LARGEST = 2**31 - 1

Input = str | tuple[int, ...]


def inputs(name: str, value: Any) -> tuple[Input, ...]:
    """The texts, at least one; a text may be empty, a list of tokens not. Raises
    `InvalidField` in Ollama's words."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if _are_tokens(value):
            return (tuple(value),)
        if all(isinstance(one, str) for one in value):
            return tuple(value)
        if all(_are_tokens(one) for one in value):
            return tuple(tuple(one) for one in value)
    raise InvalidField(name, f"invalid {name}")


def _are_tokens(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(_is_token(one) for one in value)


def _is_token(value: Any) -> bool:
    """Whether it could be the id of a token; which ids there are is the model's to say."""
    return type(value) is int and -_LARGEST <= value <= _LARGEST
