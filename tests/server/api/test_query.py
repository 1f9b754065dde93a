"""Queries of URLs as structs."""

from typing import Any

import msgspec
import pytest
from litestar.connection import Request

from server.api.query import read_query
from server.errors import InvalidRequest


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a route might take."""

    name: str = ""
    count: int = 0


def read(query: str) -> Wanted:
    scope: Any = {"type": "http", "query_string": query.encode()}
    request: Request[Any, Any, Any] = Request(scope)
    return read_query(request, Wanted)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Wanted()),
        ("name=a%20b&count=3&other=x", Wanted(name="a b", count=3)),
        ("name=", Wanted()),
        ("count=1&count=2", Wanted(count=1)),
    ],
)
def test_a_query(query: str, expected: Wanted) -> None:
    assert read(query) == expected


def test_a_value_of_the_wrong_type_names_its_parameter() -> None:
    with pytest.raises(InvalidRequest, match="count"):
        read("count=many")
