"""Requests and answers held against the published OpenAPI document, where it is at hand."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import referencing
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).parents[4] / "shared" / "data" / "console-openapi.json"
_URI = "urn:console"


class OpenApi:
    """The document as JSON Schema: OpenAPI 3.0 has its own words for null and bounds."""

    def __init__(self, path: Path) -> None:
        self._root = _as_json_schema(msgspec.json.decode(path.read_bytes()))
        resource = referencing.Resource.from_contents(self._root, default_specification=DRAFT202012)
        self._registry: Any = referencing.Registry().with_resource(_URI, resource)
        # What has no variable part comes first.
        templates = sorted(self._root["paths"], key=lambda path: path.count("{"))
        self._paths = [
            (each, re.compile(re.sub(r"\{[^}]*\}", "[^/]+", each))) for each in templates
        ]
        self._validators: dict[str, Any] = {}

    def complaint_of_request(
        self, method: str, path: str, query: Mapping[str, str], body: Any
    ) -> str | None:
        """What is wrong with a request, None if nothing is."""
        found = self._operation(method, path)
        if found is None:
            return f"the document has no {method} {path}"
        where, operation = found
        declared = {
            each["name"]: (f"{where}/parameters/{number}/schema", each["schema"])
            for number, each in enumerate(operation.get("parameters", []))
            if each["in"] == "query"
        }
        for name, text in query.items():
            if name not in declared:
                return f"{method} {path} has no parameter {name}"
            pointer, schema = declared[name]
            value = int(text) if schema.get("type") == "integer" else text
            if complaint := self._complaint(pointer, value):
                return f"{method} {path}?{name}: {complaint}"
        if "requestBody" not in operation:
            return None if body is None else f"{method} {path} takes no body"
        return self._complaint(f"{where}/requestBody/content/application~1json/schema", body)

    def complaint_of_answer(self, method: str, path: str, status: int, body: Any) -> str | None:
        """What is wrong with an answer; errors that are not listed are held against the
        form that all errors have."""
        found = self._operation(method, path)
        if found is None:
            return f"the document has no {method} {path}"
        where, operation = found
        schema = "content/application~1json/schema"
        content = operation["responses"].get(str(status), {}).get("content", {})
        if "application/json" in content:
            return self._complaint(f"{where}/responses/{status}/{schema}", body)
        if status >= 400:
            return self._complaint("/components/schemas/ConsoleError", body)
        return f"{method} {path} does not answer {status}"

    def _operation(self, method: str, path: str) -> tuple[str, Any] | None:
        for template, pattern in self._paths:
            if pattern.fullmatch(path):
                operation = self._root["paths"][template].get(method.lower())
                if operation is not None:
                    escaped = template.replace("~", "~0").replace("/", "~1")
                    escaped = escaped.replace("{", "%7B").replace("}", "%7D")
                    return f"/paths/{escaped}/{method.lower()}", operation
        return None

    def _complaint(self, pointer: str, value: Any) -> str | None:
        if pointer not in self._validators:
            self._validators[pointer] = jsonschema.Draft202012Validator(
                {"$ref": f"{_URI}#{pointer}"}, registry=self._registry
            )
        found = self._validators[pointer].iter_errors(value)
        error = jsonschema.exceptions.best_match(found)
        return None if error is None else f"{error.json_path}: {error.message}"


@functools.cache
def published() -> OpenApi | None:
    """The document, None where it is not at hand."""
    return OpenApi(DOCUMENT) if DOCUMENT.exists() else None


def _as_json_schema(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json_schema(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key: _as_json_schema(part) for key, part in value.items()}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if made.get(exclusive) is True:
            made[exclusive] = made.pop(bound)
        elif made.get(exclusive) is False:
            del made[exclusive]
    if "$ref" in made and isinstance(made["$ref"], str):
        made["$ref"] = made["$ref"].replace("#", f"{_URI}#", 1)
    if made.get("nullable") is True:
        del made["nullable"]
        return {"anyOf": [made, {"type": "null"}]}
    return made
