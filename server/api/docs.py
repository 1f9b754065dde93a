"""The OpenAPI document and a page that shows it. No script, nothing from another host."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2
import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import openapi
from server.api.dialect import Dialect
from server.api.stream import reply
from server.keys import Scope

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ info.title }} {{ info.version }}</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 0 }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8885; border-radius: 4px }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
</style>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>The same for programs: <a href="openapi.json">openapi.json</a>. A key goes into
<code>Authorization: Bearer KEY</code> or <code>x-api-key</code>.</p>
{% for path, operations in paths.items() %}{% for method, operation in operations.items() %}
<h2 id="{{ operation.operationId }}">{{ method | upper }} {{ path }}</h2>
<p>{{ operation.summary }}{% if operation.get("x-scope") %} (scope {{ operation["x-scope"] }})
{%- else %} (open){% endif %}.</p>
{% for parameter in operation.get("parameters", ()) if parameter.in == "query" %}
<p><code>?{{ parameter.name }}=</code> {{ parameter.description }}</p>
{% endfor %}
{% for name, schema in bodies(operation) %}
<details><summary>{{ name }}</summary><pre>{{ schema }}</pre></details>
{% endfor %}
<details><summary>Statuses</summary><table>
{% for status, answer in operation.responses.items() %}
<tr><td>{{ status }}</td><td>{{ answer.description }}</td></tr>
{% endfor %}</table></details>
{% endfor %}{% endfor %}
</html>
"""


def handlers(
    documented: Sequence[HTTPRouteHandler], dialects: Sequence[Dialect], version: str
) -> Sequence[HTTPRouteHandler]:
    """The two routes, for the document of these handlers. It is made when it is asked for."""

    @cache
    def document() -> dict[str, Any]:
        return openapi.document(documented, dialects, version)

    @cache
    def page() -> bytes:
        return _page(document()).encode()

    @get("/openapi.json", opt={"scope": Scope.READ})
    async def machine() -> ASGIApp:
        return reply(msgspec.json.encode(document()), media_type="application/json")

    @get("/docs", opt={"scope": Scope.READ})
    async def human() -> ASGIApp:
        return reply(page(), media_type="text/html; charset=utf-8")

    return [machine, human]


def _page(document: dict[str, Any]) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    schemas = document["components"]["schemas"]

    def bodies(operation: dict[str, Any]) -> list[tuple[str, str]]:
        shown = []
        if "requestBody" in operation:
            shown.append(("Request", operation["requestBody"]))
        shown.append(("Answer", operation["responses"]["200"]))
        return [(name, text) for name, body in shown if (text := _schema_text(body, schemas))]

    return environment.from_string(_PAGE).render(
        info=document["info"], paths=document["paths"], bodies=bodies
    )


def _schema_text(body: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The schemas that a body consists of, with those that they refer to by name."""
    content = body.get("content", {}).values()
    found = [part.get("schema", part.get("x-item-schema", {})) for part in content]
    names = {name for schema in found for name in _names_in(schema)}
    while more := {n for name in names for n in _names_in(schemas[name])} - names:
        names |= more
    return "\n\n".join(f"{name} {json.dumps(schemas[name], indent=2)}" for name in sorted(names))


def _names_in(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set()
        return own.union(*(_names_in(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_names_in(item) for item in schema))
    return set()
