"""The OpenAPI document, made from the types that read and write the bodies.

What we answer is closed: no field that the document does not name. What we are sent is
open, because clients send fields that are not for us.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from server import errors
from server.api.described import TEXT_TYPE, Described
from server.api.dialect import Dialect, dialect_of
from server.auth import OPEN_PATHS
from server.errors import ServerError

_TEMPLATE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
# Of a parameter's schema: said outside of it, and nothing that a client should send.
_SAID_BESIDE = ("description", "default")
# Seen by nobody: the client is gone.
_UNSEEN = {errors.ClientGone}


def document(
    handlers: Sequence[HTTPRouteHandler], dialects: Sequence[Dialect], version: str
) -> dict[str, Any]:
    """The document of these routes. One without a description is left out."""
    found = [(handler, _described(handler)) for handler in handlers]
    routes = [(handler, described) for handler, described in found if described]
    refs, components = _schemas([d for _, d in routes], dialects)
    paths: dict[str, dict[str, Any]] = {}
    for handler, described in routes:
        for path in sorted(handler.paths):
            shown = _PARAMETER.sub(r"{\1}", path)
            dialect = dialect_of(path, dialects)
            for method in sorted(handler.http_methods):
                operation = _operation(path, handler, described, refs, dialect)
                operation["operationId"] = _operation_id(method, shown)
                paths.setdefault(shown, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "akash-llm", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _described(handler: HTTPRouteHandler) -> Described | None:
    found = handler.opt.get("described")
    return found if isinstance(found, Described) else None


def _schemas(
    routes: Iterable[Described], dialects: Sequence[Dialect]
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A schema for each type by the type, and the components that they refer to."""
    requests = {d.request: None for d in routes if d.request not in (None, bytes)}
    replies = {t: None for d in routes for t in (d.reply, *d.stream) if t not in (None, str)}
    replies |= {dialect.error: None for dialect in dialects}
    types = [*replies, *requests]
    found, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    _, answered = msgspec.json.schema_components(list(replies), ref_template=_TEMPLATE)
    titles = {schema["title"] for schema in answered.values() if "title" in schema}
    for name, schema in components.items():
        if schema.get("title") in titles or name in answered:
            _close(schema)
    return dict(zip(types, found, strict=True)), components


def _close(schema: dict[str, Any]) -> None:
    if "properties" in schema:
        schema["additionalProperties"] = False


def _operation(
    path: str,
    handler: HTTPRouteHandler,
    described: Described,
    refs: dict[Any, Any],
    dialect: Dialect,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": described.summary}
    if parameters := [*_path_parameters(path), *_query_parameters(described.query)]:
        operation["parameters"] = parameters
    if described.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {described.request_type: {"schema": refs.get(described.request, {})}},
        }
    operation["responses"] = _responses(described, refs, dialect)
    if path not in OPEN_PATHS:
        operation["security"] = [{"bearer": []}, {"header": []}]
        operation["x-scope"] = str(handler.opt.get("scope") or "admin")
    return operation


def _responses(described: Described, refs: dict[Any, Any], dialect: Dialect) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "done", **_content(described, refs)}}
    for status, meaning in described.statuses.items():
        responses[str(status)] = {"description": meaning, **_content(described, refs)}
    for status, codes in _error_statuses().items():
        content = {"application/json": {"schema": refs[dialect.error]}}
        responses.setdefault(
            str(status), {"description": ", ".join(sorted(codes)), "content": content}
        )
    if not dialect.shapes_unknown_paths:
        text = {TEXT_TYPE: {"schema": {"type": "string"}}}
        responses["405"] = {"description": "not a method of this path", "content": text}
    return responses


def _content(described: Described, refs: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if described.reply is not None:
        is_text = described.reply is str
        schema = {"type": "string"} if is_text else refs[described.reply]
        content[described.reply_type] = {"schema": schema}
    if described.stream:
        # One object a line, or in the data of an event: no schema can say so.
        kinds = [refs[kind] for kind in described.stream]
        content[described.stream_type] = {"x-item-schema": {"anyOf": kinds}}
    return {"content": content} if content else {}


def _error_statuses() -> dict[int, set[str]]:
    """The codes of all errors that a client may see, by status."""
    found: dict[int, set[str]] = {}
    for kind in _with_subclasses(ServerError):
        if kind not in _UNSEEN:
            found.setdefault(kind.status, set()).add(kind.code)
    return dict(sorted(found.items()))


def _with_subclasses(kind: type[ServerError]) -> list[type[ServerError]]:
    return [kind, *(one for sub in kind.__subclasses__() for one in _with_subclasses(sub))]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in _PARAMETER.findall(path)
    ]


def _query_parameters(query: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    _, components = msgspec.json.schema_components([query])
    properties = components[query.__name__]["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "description": schema["description"],
            "schema": {key: value for key, value in schema.items() if key not in _SAID_BESIDE},
        }
        for name, schema in properties.items()
    ]


def _operation_id(method: str, path: str) -> str:
    words = [word for word in re.split(r"\W+", path) if word]
    return "_".join([method.lower(), *words])
