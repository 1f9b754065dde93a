"""Functions that a model may call, and its calls of them."""

from typing import Any

import msgspec


class Tool(msgspec.Struct, frozen=True):
    """A function. `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class ToolCall(msgspec.Struct, frozen=True):
    """A call. `id` is "call_" and 8 letters or digits."""

    id: str
    name: str
    arguments: dict[str, Any]
