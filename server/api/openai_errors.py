"""OpenAI's errors: the envelope, and the mistakes that name a field."""

from server.api import gojson
from server.api.openai_objects import ErrorDetail, ErrorReply
from server.errors import (
    ContextExceeded,
    InvalidRequest,
    ModelNotFound,
    ServerError,
    Unauthorized,
)

# The types that clients know. What is not here is `api_error`, as in Ollama.
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
# Where OpenAI has a code of its own for what went wrong.
_CODES: dict[type[ServerError], str | None] = {
    InvalidRequest: None,
    ContextExceeded: "context_length_exceeded",
    Unauthorized: "invalid_api_key",
}


class InvalidField(InvalidRequest):
    """A field of a body that cannot be what it is; `param` is its path."""

    def __init__(self, param: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.param = param


def encode_error(error: ServerError) -> bytes:
    """`{"error": {message, type, param, code}}`."""
    return gojson.encode(ErrorReply(error=detail(error)))


def detail(error: ServerError) -> ErrorDetail:
    """`type` follows the status; `code` is OpenAI's where it has one, else ours, and null for
    what is merely wrong."""
    text = error.message
    if error.hint and not isinstance(error, ModelNotFound):
        text = f"{text} ({error.hint})"
    return ErrorDetail(
        message=text,
        type=_TYPES.get(error.status, "api_error"),
        param=error.param if isinstance(error, InvalidField) else None,
        code=_code(error),
    )


def _code(error: ServerError) -> str | None:
    if error.status == 429:
        return "rate_limit_exceeded"
    if isinstance(error, InvalidField):
        return None
    return _CODES.get(type(error), error.code)
