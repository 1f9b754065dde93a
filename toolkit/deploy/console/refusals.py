"""What an answer of the Console other than 2xx means, and what to do about it.

Branches on status and `code`, never on the message. After a request that changes or costs
something, a 5xx may stand for anything but the two cases in which the Console says what
it knows; so it counts as an answer that never came.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from toolkit.deploy.console.decoding import Unreadable, decode
from toolkit.errors import (
    CredentialsError,
    EndpointError,
    FundsMissing,
    ReplyLost,
    RequestRefused,
    ToolkitError,
)
from toolkit.safetext import cleaned

# The provider could not be reached: there is no lease, the next bid may be taken.
PROVIDER_UNREACHABLE = "provider_unreachable"
# There is a lease and it bills: send the same request again, else close.
MANIFEST_NOT_DELIVERED = "manifest_not_delivered"
TOP_UP_PENDING = "balance_top_up_pending"

_OUTCOME_KNOWN = frozenset({PROVIDER_UNREACHABLE, MANIFEST_NOT_DELIVERED})
_LONGEST_WAIT_S = 86_400.0
_LONGEST_TEXT = 1000
_MOST_ISSUES = 5


class Answer(msgspec.Struct, frozen=True):
    """A whole answer over HTTP."""

    status: int
    body: bytes
    retry_after: str = ""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after_s(self) -> float | None:
        """How long it asks to wait, by seconds or by a date; None where it does not say, or says
        what nobody can mean (more than a day)."""
        text = self.retry_after.strip()
        if text.isascii() and text.isdecimal():
            wait_s = float(text)
        else:
            try:
                wait_s = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):  # no date, or one without a zone
                return None
        return max(wait_s, 0.0) if wait_s <= _LONGEST_WAIT_S else None


class _Refused(msgspec.Struct, frozen=True):
    message: object = ""
    code: object = ""
    error: object = ""
    data: object = None


def refusal(answer: Answer, *, look: str | None) -> ToolkitError:
    """The error that `answer` stands for.

    `look` says how to find out what became of a request that changes something; None for
    one that changes nothing.
    """
    said = _said(answer.body)
    code = said.code if isinstance(said.code, str) else ""
    words = _words(said)
    status = answer.status
    if look is not None and (status >= 500 or status == 408) and code not in _OUTCOME_KNOWN:
        return reply_lost(f"answered {status}{': ' + words if words else ''}", look)
    if status in (401, 403):
        return CredentialsError(
            f"The Console {'refuses the key' if status == 401 else 'forbids this'}"
            f"{': ' + words if words else '.'}",
            hint=_credentials_hint(status),
        )
    if status == 402:
        return _funds_missing(answer, code, words, said.data)
    return RequestRefused(
        f"The Console says: {words}" if words else f"The Console answered {status}.",
        status=status,
        code=code,
        hint=_hint(answer, code),
        retry_after_s=answer.retry_after_s,
    )


def may_pass(error: ToolkitError) -> bool:
    """Whether the same look may do better a little later."""
    if isinstance(error, RequestRefused):
        return error.status >= 500 or error.status == 429
    return isinstance(error, EndpointError)


def reply_lost(what: str, look: str) -> ReplyLost:
    """The error for an answer that did not come; `what` happened instead."""
    return ReplyLost(
        f"The Console {what}; whether it did what was asked is not known.",
        hint=f"It was sent once and is not sent again. {look}",
    )


def _said(body: bytes) -> _Refused:
    try:
        return decode(body, _Refused)
    except Unreadable:  # a page of HTML from what stands before the Console
        return _Refused()


def _words(said: _Refused) -> str:
    message = said.message if isinstance(said.message, str) else ""
    if not message and isinstance(said.error, str):
        message = said.error
    issues = "; ".join(_issues(said.data))
    text = f"{message} ({issues})" if issues else message
    return cleaned(text)[:_LONGEST_TEXT].strip()


def _issues(data: object) -> list[str]:
    """What a validation error complains of, as `path: message`."""
    found = []
    for issue in data if isinstance(data, list) else []:
        if isinstance(issue, Mapping) and isinstance(issue.get("message"), str):
            path = issue.get("path")
            where = ".".join(str(part) for part in path) if isinstance(path, list) else ""
            found.append(f"{where}: {issue['message']}" if where else str(issue["message"]))
    return found[:_MOST_ISSUES]


def _credentials_hint(status: int) -> str:
    if status == 401:
        return (
            "Make a key at console.akash.network, Settings, API Keys, and set AKASH_API_KEY. "
            "A key of another environment, or past its end, is refused too."
        )
    return "The account may not do this yet: see what console.akash.network asks of it."


def _funds_missing(answer: Answer, code: str, words: str, data: object) -> FundsMissing:
    told = data if isinstance(data, Mapping) else {}
    wait = answer.retry_after_s
    if code == TOP_UP_PENDING:
        hint = f"Money is on its way: try again in {wait or 60:.0f} s."
    else:
        hint = "Add funds at console.akash.network, or close a deployment that you do not need."
    return FundsMissing(
        f"The Console says: {words}" if words else "The account does not hold what this costs.",
        hint=hint,
        needed_usd=_number(told.get("requiredAmountUsd")),
        available_usd=_number(told.get("availableAmountUsd")),
        retry_after_s=wait,
    )


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and isinstance(value, (int, float)) else None


def _hint(answer: Answer, code: str) -> str:
    status, wait = answer.status, answer.retry_after_s
    if code == PROVIDER_UNREACHABLE:
        return "There is no lease: take the next bid."
    if code == MANIFEST_NOT_DELIVERED:
        return "The lease exists and bills: send the same again, else close the deployment."
    if status == 404:
        return "Look at what the account has: akash-llm status"
    if status == 409:
        return "It has changed meanwhile: look again, then decide anew."
    if status == 429:
        return f"Too many requests: try again in {wait or 60:.0f} s."
    if status >= 500:
        return "The Console has a problem of its own: try again in a few minutes."
    if 300 <= status < 400:
        return "It redirects elsewhere, which is not followed: check the Console's address."
    return "Change what it complains of; nothing has been done."
