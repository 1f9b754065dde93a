"""What it means when a gateway refuses a connection or ends one.

Either a `ToolkitError`, where trying again is vain, or `Interrupted`, where it is not. What
the gateway says is cleaned and bounded before it becomes part of a message.
"""

import msgspec
from websockets.exceptions import ConnectionClosed

from toolkit import jsontext, safetext
from toolkit.errors import CredentialsError, EndpointError, RequestRefused

MAX_REASON = 300

# Statuses that speak of the token, and those that may pass.
TOKEN_REFUSED = frozenset({400, 401, 403})
_PASSING = frozenset({429, 500, 502, 503, 504})

_LEASE_NOT_FOUND = 4001
_REGULAR = frozenset({1000, 1001, 1005})
# What this side ends a connection with: a bad frame, bad text, a message beyond the bound.
_BROKEN_RULES = frozenset({1002, 1007, 1009})

_ELSEWHERE = "Ask again later; if it stays so, move to another provider."


class Interrupted(Exception):
    """A connection that failed or ended, and may be made again; the text says why."""


class Closed(Interrupted):
    """The gateway ended a connection that was open; `is_regular` without an error."""

    def __init__(self, why: str, *, is_regular: bool) -> None:
        super().__init__(why)
        self.is_regular = is_regular


class _Refusal(msgspec.Struct):
    message: str = ""


def token_refused(status: int, body: bytes, token: str) -> CredentialsError:
    """A refusal of `token`, in the provider's words without it."""
    try:
        message = jsontext.decoded(body, _Refusal).message
    except msgspec.DecodeError:
        message = ""
    words = _bounded(message.replace(token, "(the token)"))
    return CredentialsError(
        f"The provider refused the token: {words or f'status {status}'}.",
        hint="Check that it is for this lease and that this machine's clock is right.",
    )


def no_stream(status: int) -> Interrupted | EndpointError:
    """A status in the place of a stream."""
    if status == 404:
        return lease_not_found()
    if status in _PASSING:
        return Interrupted(f"the provider's gateway answered with status {status}")
    return RequestRefused(
        f"The provider's gateway answered with status {status}.",
        status=status,
        hint="The provider may run a version that this program does not know.",
    )


def lease_not_found() -> EndpointError:
    """The provider does not know the lease, or no longer."""
    return EndpointError(
        "The provider has no such lease.",
        hint="It may have been closed; see what is there: akash-llm status",
    )


def too_long(limit_bytes: int) -> EndpointError:
    """An answer beyond the bound."""
    return EndpointError(
        f"The provider's gateway sent more than {limit_bytes} bytes as a status.", hint=_ELSEWHERE
    )


def closed(end: ConnectionClosed) -> Interrupted | EndpointError:
    """The end of an open connection (close codes of the provider's gateway)."""
    sent, received = end.sent, end.rcvd
    if sent is not None and sent.code in _BROKEN_RULES:
        return EndpointError(
            f"The provider's gateway broke the rules of its protocol ({sent.reason or sent.code}).",
            hint=_ELSEWHERE,
        )
    if received is None:
        if sent is not None:
            return Closed(f"it was given up: {sent.reason}", is_regular=False)
        # The provider ends a log that it does not follow without a word.
        return Closed("the connection ended", is_regular=True)
    if received.code == _LEASE_NOT_FOUND:
        return lease_not_found()
    reason = _bounded(received.reason) or "no reason given"
    return Closed(f"{reason} ({received.code})", is_regular=received.code in _REGULAR)


def failed(error: Exception) -> Interrupted:
    """A connection that could not be made or broke."""
    return Interrupted(_bounded(str(error)) or type(error).__name__)


def _bounded(text: str) -> str:
    return safetext.cleaned(text)[:MAX_REASON]
