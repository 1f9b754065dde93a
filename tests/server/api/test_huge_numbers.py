"""Numbers beyond what any machine counts to, in every field of every body that takes a number."""

import secrets
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from server.api.options import Options
from tests.support.conformance import CHANGING, NEEDED
from tests.support.serving import Serving

HUGE = (2**31, 2**63, 2**64, 10**30, -(10**30), 1e300, -1e300)
NUMBERS = {"integer", "number"}


def _named(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _takes_numbers(schema: dict[str, Any]) -> bool:
    """Whether a number or a list of numbers is among what may stand there."""
    options = schema.get("anyOf", [schema])
    items = [option["items"] for option in options if "items" in option]
    return any(option.get("type") in NUMBERS for option in [*options, *items])


def _fields(document: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, part in _named(document, schema).get("properties", {}).items():
        path = f"{above}{name}"
        if _takes_numbers(part):
            yield path
        for option in part.get("anyOf", [part]):
            if "$ref" in option and not above:
                yield from _fields(document, option, f"{path}.")
        if path == "options":
            yield from (f"options.{name}" for name in Options.__struct_fields__)


def _bodies(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, item in document["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema and path not in CHANGING:
            yield from ((path, name) for name in _fields(document, schema))


def _body(path: str, name: str, value: Any) -> dict[str, Any]:
    model = "embedder" if "embed" in path else "m"
    body: dict[str, Any] = {"model": model, "stream": False, **NEEDED.get(path, {})}
    if path == "/admin/keys":
        body = {"name": f"many-{secrets.token_hex(4)}"}
    if "embed" in path:
        body["input" if path != "/api/embeddings" else "prompt"] = "hello"
        del body["stream"]
    at = body
    *parents, last = name.split(".")
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    return body


@pytest.fixture(scope="module")
def fields(serving: Serving) -> list[tuple[str, str]]:
    with serving.client() as client:
        return list(_bodies(client.get("/openapi.json").json()))


def test_the_fields_are_found(fields: list[tuple[str, str]]) -> None:
    assert {("/api/embed", "dimensions"), ("/api/chat", "options.seed")} <= set(fields)
    assert {("/v1/chat/completions", "n"), ("/v1/messages", "max_tokens")} <= set(fields)
    assert len(fields) > 60


@pytest.mark.parametrize("value", HUGE)
def test_a_huge_number_is_refused_or_makes_no_difference(
    serving: Serving, fields: list[tuple[str, str]], value: float
) -> None:
    statuses = {}
    with serving.client() as client:
        for path, name in fields:
            for sent in (value, [value]):
                answer = client.post(path, json=_body(path, name, sent))
                statuses[path, name, isinstance(sent, list)] = answer.status_code
    unexpected = {where: status for where, status in statuses.items() if status not in {200, 400}}
    assert unexpected == {}


def test_ollama_says_which_number_is_too_large(serving: Serving) -> None:
    with serving.client() as client:
        answer: httpx2.Response = client.post(
            "/api/embed", json={"model": "embedder", "input": "x", "dimensions": 10**22}
        )
    assert answer.status_code == 400
    assert "dimensions" in answer.json()["error"]
