"""Every failure that a client may see, as one tree.

    ServerError                 500 internal
    ├── InvalidRequest          400 invalid_request
    │   ├── ContextExceeded     400 context_exceeded
    │   └── Unsupported         400 unsupported
    ├── Unauthorized            401 unauthorized
    ├── Forbidden               403 forbidden
    ├── NotFound                404 not_found
    │   └── ModelNotFound       404 model_not_found
    ├── MethodNotAllowed        405 method_not_allowed
    ├── PayloadTooLarge         413 payload_too_large
    ├── UnsupportedEncoding     415 unsupported_encoding
    ├── RateLimited             429 rate_limited     (retry_after_s, headers)
    ├── ClientGone              499 client_gone      (nobody reads it but the log)
    ├── Overloaded              503 overloaded       (retry_after_s)
    ├── ModelUnusable           500 model_unusable   (cut short, no GGUF, unknown architecture)
    ├── LoadFailed              500 load_failed
    ├── EngineCrashed           500 engine_crashed
    ├── PullFailed              502 pull_failed      (another server did not give the model)
    ├── UpstreamFailed          502 upstream_failed  (the server of the engine said no sense)
    │   ├── UpstreamGone        503 upstream_gone    (it cannot be reached; retry_after_s)
    │   └── UpstreamSilent      504 upstream_silent  (it takes too long)
    └── StorageFull             507 storage_full

The class fixes status and code, the instance carries the message and, where
there is one, the next step (`hint`). Which envelope a dialect puts around it is
decided in `server.api`, last.
"""

from collections.abc import Mapping
from typing import ClassVar


class ServerError(Exception):
    """An expected failure with a status, a stable code and one message."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s


class InvalidRequest(ServerError):
    """The client sent something that cannot be done as asked."""

    status = 400
    code = "invalid_request"


class ContextExceeded(InvalidRequest):
    """The prompt does not fit and the client forbade cutting it."""

    code = "context_exceeded"


class Unsupported(InvalidRequest):
    """The model or the server lacks the capability that was asked for."""

    code = "unsupported"


class Unauthorized(ServerError):
    """No key, or one that is not known."""

    status = 401
    code = "unauthorized"


class Forbidden(ServerError):
    """A known key without the scope, or an Origin or Host that is refused."""

    status = 403
    code = "forbidden"


class NotFound(ServerError):
    """Nothing here by that name."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """No model of that name in the store."""

    code = "model_not_found"


class MethodNotAllowed(ServerError):
    """The path is known, but not with this method."""

    status = 405
    code = "method_not_allowed"


class PayloadTooLarge(ServerError):
    """The body is over the limit."""

    status = 413
    code = "payload_too_large"


class RateLimited(ServerError):
    """This key or address has had its share; `headers` tell what is left of it."""

    status = 429
    code = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_s: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = dict(headers or {})


class UnsupportedEncoding(ServerError):
    """The body is packed in a way that is not understood here."""

    status = 415
    code = "unsupported_encoding"


class ClientGone(ServerError):
    """The client left before all of its request was here."""

    status = 499
    code = "client_gone"


class Overloaded(ServerError):
    """No room now; the same request may pass after `retry_after_s`."""

    status = 503
    code = "overloaded"


class ModelUnusable(ServerError):
    """The stored file cannot be a model: cut short, not GGUF, unknown kind."""

    code = "model_unusable"


class LoadFailed(ServerError):
    """The runner could not load the model."""

    code = "load_failed"


class EngineCrashed(ServerError):
    """The runner died or hung while it worked on this request."""

    code = "engine_crashed"


class PullFailed(ServerError):
    """A model could not be fetched from where it should come from."""

    status = 502
    code = "pull_failed"


class UpstreamFailed(ServerError):
    """The server that runs the models answered with a failure, or with no sense."""

    status = 502
    code = "upstream_failed"


class UpstreamGone(UpstreamFailed):
    """It cannot be reached, or is not ready; the same request may pass later."""

    status = 503
    code = "upstream_gone"


class UpstreamSilent(UpstreamFailed):
    """It said nothing for too long."""

    status = 504
    code = "upstream_silent"


class StorageFull(ServerError):
    """No space left where the store lies."""

    status = 507
    code = "storage_full"
