"""Tools that a caller offers, and the calls that a model makes of them."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.chat.values import NotReadable, plain, read_json

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `parameters` is the JSON schema of its arguments,
    an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}

    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates expect it; the order of its keys is kept. What they go
        through without asking is always there: the description and the properties."""
        parameters = self.parameters or {"type": "object"}
        if parameters.get("type") == "object" and not isinstance(
            parameters.get("properties"), dict
        ):
            parameters = {**parameters, "properties": {}}
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schema of each argument, in the order of the caller."""
        properties = self.parameters.get("properties")
        if not isinstance(properties, dict):
            return {}
        return {name: self._resolved(schema) for name, schema in properties.items()}

    def _resolved(self, schema: Any) -> Any:
        """The schema, or what it refers to among the definitions beside it."""
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            return schema
        place, _, name = schema["$ref"].removeprefix("#/").partition("/")
        found = self.parameters.get(place)
        return found.get(name, schema) if isinstance(found, dict) else schema


class ToolCall(msgspec.Struct, frozen=True):
    """One call. `id` is `call_` and eight of a–z and 0–9, as Ollama's are; `arguments` can
    always be written as JSON."""

    id: str
    name: str
    arguments: dict[str, Any]


class Offered:
    """The tools of one request, and the calls made so far: no two have the same id."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._tools)

    def find(self, name: object) -> Tool:
        """The tool of this name. Raises `NotReadable` unless it was offered."""
        if not isinstance(name, str):
            raise NotReadable("the name of a tool is no text")
        bare = name.strip()
        for spelled in (name, bare, bare.removeprefix("functions.")):
            if tool := self._tools.get(spelled):
                return tool
        raise NotReadable("a tool that was not offered")

    def call(self, name: object, arguments: object) -> ToolCall:
        """A call of an offered tool. Arguments may be an object or its JSON as text;
        nothing (null, "", []) means none. Raises `NotReadable`."""
        tool = self.find(name)
        if isinstance(arguments, str) and arguments.strip():
            arguments = read_json(arguments)
        if not arguments and not isinstance(arguments, bool | int | float):
            arguments = {}
        if not isinstance(arguments, dict):
            raise NotReadable("arguments are no object")
        return ToolCall(self._new_id(), tool.name, plain(arguments))

    def _new_id(self) -> str:
        while True:
            id = "call_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
            if id not in self._ids:
                self._ids.add(id)
                return id
