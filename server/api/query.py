"""The query of a URL as a struct, the same that the OpenAPI document describes."""

from typing import Any, TypeVar

import msgspec
from litestar import Request

from server.errors import InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)


def read_query(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The parameters that `kind` names; others are ignored, and of one that comes twice the
    first counts. Raises `InvalidRequest` for a value of the wrong type."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query of the URL: {error}") from None
