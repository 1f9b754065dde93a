"""Exceptions that leave a handler, as replies in the shape of the path's dialect."""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from server.api.dialect import Dialect, dialect_of
from server.api.stream import error_headers, expected
from server.errors import InvalidRequest, PayloadTooLarge, ServerError

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

    return {
        NotFoundException: _text(404, b"404 page not found"),
        MethodNotAllowedException: _text(405, b"405 method not allowed"),
        HTTPException: refused,
        Exception: failed,
    }


def _text(status: int, body: bytes) -> Handler:
    def handler(_: Request[Any, Any, Any], __: Exception) -> Response[bytes]:
        return Response(body, status_code=status, media_type="text/plain")

    return handler
