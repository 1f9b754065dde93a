"""The OpenAPI document against the server that it describes, and against broken ones."""

from collections.abc import Collection
from typing import Any

import httpx2
import pytest

from tests.support.breaking import SPOILS, Spoil, broken
from tests.support.conformance import Report, check_server, make_sense
from tests.support.serving import Serving


@pytest.fixture(scope="module")
def document(serving: Serving) -> dict[str, Any]:
    with serving.client() as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


# Enough to see that something is broken.
SOME = ("/api/chat", "/api/show", "/api/tags")


def checked(url: str, document: dict[str, Any], cases: int, only: Collection[str] = ()) -> Report:
    return check_server(url, document, cases=cases, seed=1, prepare=make_sense, only=only)


def test_every_answer_is_as_the_document_says(serving: Serving, document: dict[str, Any]) -> None:
    report = checked(serving.url, document, 200)
    assert report.failures == {}
    assert report.num_cases >= 150
    assert {200, 400, 404} <= set(report.statuses)
    assert report.statuses[200] > report.num_cases / 5


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_broken_server_is_found_out(
    serving: Serving, document: dict[str, Any], spoil: Spoil
) -> None:
    with broken(serving.url, spoil) as url:
        assert checked(url, document, 40, SOME).failures


def test_what_is_answered_is_closed_and_what_is_sent_is_open(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Chatted"]["additionalProperties"] is False
    assert schemas["Reply"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["GenerateRequest"]


def test_queries_are_described_as_they_are_read(document: dict[str, Any]) -> None:
    def queries(path: str) -> dict[str, Any]:
        parameters = document["paths"][path]["get"]["parameters"]
        assert {each["in"] for each in parameters} == {"query"}
        return {each["name"]: each["schema"] for each in parameters}

    own = {"model": {"type": "string"}, "since": {"type": "string", "format": "date"}}
    assert queries("/usage") == own
    assert queries("/admin/usage") == {**own, "key": {"type": "string"}}


def test_queries_are_tried(serving: Serving, document: dict[str, Any]) -> None:
    report = checked(serving.url, document, 60, ("/usage", "/admin/usage"))
    assert report.failures == {}
    assert {200, 400} <= set(report.statuses) and report.num_cases > 40


def test_the_page_shows_every_route_and_asks_no_other_host(
    client: httpx2.Client, document: dict[str, Any]
) -> None:
    page = client.get("/docs").text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in page
    assert "<code>?since=</code> From this day" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page
