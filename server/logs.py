"""The log: one JSON object per line on stderr. Never a prompt, a reply or a key.

A line belongs to a request if it has a `request_id`; the id is also in the reply's
header, and taken from the request if a client sent a sane one.
"""

import contextvars
import logging
import re
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

REQUEST_ID_HEADER = "x-request-id"
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_current_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


class JSONLines(logging.Formatter):
    """Formats a record as one line. `extra={"fields": {…}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := _current_id.get():
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure() -> None:
    """Send everything to stderr as JSON lines; libraries only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("akash_llm").setLevel(logging.INFO)


def begin_request(offered: str) -> str:
    """The id of the request that this task answers: the client's if it is sane."""
    chosen = offered if _SANE_ID.fullmatch(offered) else secrets.token_hex(8)
    _current_id.set(chosen)
    return chosen


def request_id() -> str:
    """The id of the request that this task answers; empty outside of one."""
    return _current_id.get()
