"""Exceptions that leave a handler, as replies in the shape of the path's dialect."""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from server.api.dialect import Dialect, dialect_of
from server.api.stream import error_headers, expected
from server.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServerError,
)

Handler = Callable[[Request[Any, Any, Any], Any], Response[bytes]]


def exception_handlers(dialects: Sequence[Dialect]) -> dict[int | type[Exception], Handler]:
    """Litestar's table: expected errors, unknown paths and methods, and everything else."""

    def failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        seen = expected(error)
        body = dialect_of(request.url.path, dialects).encode_error(seen)
        return Response(body, status_code=seen.status, headers=error_headers(seen))

    def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        """What the framework itself refuses: a body that is too large, a broken header."""
        kind: type[ServerError] = PayloadTooLarge if error.status_code == 413 else InvalidRequest
        if error.status_code >= 500:
            return failed(request, error)
        return failed(request, kind(error.detail))

    def unknown(kind: type[ServerError], text: str) -> Handler:
        """For a path or a method that nobody serves."""

        def handler(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
            if dialect_of(request.url.path, dialects).shapes_unknown_paths:
                return failed(request, kind(text))
            body = f"{kind.status} {text}".encode()
            return Response(body, status_code=kind.status, media_type="text/plain")

        return handler

    return {
        NotFoundException: unknown(NotFound, "page not found"),
        MethodNotAllowedException: unknown(MethodNotAllowed, "method not allowed"),
        HTTPException: refused,
        Exception: failed,
    }
