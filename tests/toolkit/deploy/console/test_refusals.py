"""Which error each answer is, and what it tells one to do."""

import json

import pytest

from toolkit.deploy.console.refusals import Answer, refusal
from toolkit.errors import CredentialsError, FundsMissing, ReplyLost, RequestRefused, ToolkitError

LOOK = "Look there."


def body(message: str, code: str = "", data: object = None) -> bytes:
    return json.dumps({"error": "E", "message": message, "code": code, "data": data}).encode()


@pytest.mark.parametrize(
    ("status", "code", "changes", "kind", "exit_code"),
    [
        (400, "bad_request", True, RequestRefused, 7),
        (401, "unauthorized", False, CredentialsError, 4),
        (403, "fair_use_policy_required", True, CredentialsError, 4),
        (402, "insufficient_balance", True, FundsMissing, 9),
        (402, "balance_top_up_pending", True, FundsMissing, 9),
        (404, "not_found", True, RequestRefused, 7),
        (408, "", True, ReplyLost, 7),
        (408, "", False, RequestRefused, 7),
        (409, "wallet_provisioning", True, RequestRefused, 7),
        (422, "validation_error", True, RequestRefused, 7),
        (429, "rate_limited", True, RequestRefused, 7),
        (500, "internal_server_error", False, RequestRefused, 7),
        (500, "internal_server_error", True, ReplyLost, 7),
        (502, "database_timeout", True, ReplyLost, 7),
        (502, "provider_unreachable", True, RequestRefused, 7),
        (502, "manifest_not_delivered", True, RequestRefused, 7),
        (503, "service_unavailable", True, ReplyLost, 7),
        (307, "", True, RequestRefused, 7),
    ],
)
def test_each_status(
    status: int, code: str, changes: bool, kind: type[ToolkitError], exit_code: int
) -> None:
    error = refusal(Answer(status, body("The words.", code)), look=LOOK if changes else None)
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert "The words." in str(error)
    assert error.hint
    if isinstance(error, ReplyLost):
        assert LOOK in error.hint
    if isinstance(error, RequestRefused):
        assert (error.status, error.code) == (status, code)


def test_what_the_validation_complains_of_is_said() -> None:
    issues = [{"path": ["data", "sdl"], "message": "Required"}, {"message": "odd"}, 7]
    error = refusal(Answer(400, body("validation error", "validation_error", issues)), look=None)
    assert error.message == "The Console says: validation error (data.sdl: Required; odd)"


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"message": 7}']
)
def test_an_answer_without_words(text: bytes) -> None:
    for status in (400, 401, 402, 429, 500):
        error = refusal(Answer(status, text), look=None)
        assert error.hint
        assert "<" not in str(error)


def test_words_are_short_and_cannot_steer_a_terminal() -> None:
    error = refusal(Answer(400, body("a\x1b[2Jb" + "x" * 100_000)), look=None)
    assert "\x1b" not in error.message
    assert len(error.message) < 1100


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", None), ("-1", None), ("soon", None), ("9" * 400, None), ("²", None)],
)
def test_how_long_to_wait(header: str, seconds: float | None) -> None:
    error = refusal(Answer(429, b"", header), look=None)
    assert isinstance(error, RequestRefused)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    "data", [None, [], "x", {"requiredAmountUsd": "5"}, {"availableAmountUsd": True}]
)
def test_amounts_that_are_not_told(data: object) -> None:
    error = refusal(Answer(402, body("m", "payment_required", data)), look=None)
    assert isinstance(error, FundsMissing)
    assert error.needed_usd is None
    assert error.available_usd is None
