"""The fields of Ollama's requests that have a grammar of their own, read and refused
in its words."""

import logging
from typing import Any

from server import limits
from server.api import base64_text, gojson
from server.api.options import Options, parse_ollama
from server.api.requests import Think
from server.api.schemas import closed
from server.durations import lifetime
from server.engine.types import Grammar
from server.errors import InvalidRequest

THINK_LEVELS = ("high", "medium", "low", "max")
MAX_TOP_LOGPROBS = 20

_log = logging.getLogger("akash_llm.ollama")
_LOGGED_NAMES = 8
_LOGGED_LENGTH = 64
_GO_KINDS = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}


def keep_alive(value: Any) -> float | None:
    """Seconds, `FOREVER`, or None if the request does not say."""
    if value is None:
        return None
    if isinstance(value, bool | list | dict):
        raise InvalidRequest(f"Unsupported type: '{_GO_KINDS[type(value)]}'")
    try:
        return lifetime(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(str(error)) from None


def options(values: dict[str, Any]) -> Options:
    """The options that are known; of the others the log tells. Raises `InvalidRequest`."""
    known, unknown = parse_ollama(values)
    if unknown:
        names = [repr(name[:_LOGGED_LENGTH]) for name in unknown[:_LOGGED_NAMES]]
        _log.warning("invalid option provided: %s", ", ".join(names))
    return known


def think(value: Any) -> Think:
    """Whether, and how much, the model was asked to think."""
    levels = ", ".join(f'"{level}"' for level in THINK_LEVELS)
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidRequest(f"think must be a boolean or string ({levels}, true, or false)")
    if value not in THINK_LEVELS:
        raise InvalidRequest(f'invalid think value: "{value}" (must be {levels}, true, or false)')
    return value


def output_format(value: Any) -> Grammar | None:
    """The constraint on the output. A wrong one is the client's mistake: 400, not Ollama's 500."""
    if value is None or value == "":
        return None
    if value == "json":
        return Grammar("json")
    encoded = gojson.encode(value)
    if not isinstance(value, dict):
        shown = encoded[:100].decode("utf-8", "replace")
        raise InvalidRequest(
            f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        )
    limits.check_schema(value, encoded)
    return Grammar("schema", gojson.encode(closed(value)).decode())


def top_logprobs(wanted: bool, count: int) -> int | None:
    """How many of the best tokens to tell, or None to tell none, not even the chosen one."""
    if not 0 <= count <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return count if wanted else None


def images(values: list[str]) -> tuple[bytes, ...]:
    """Decoded images. `data:` URLs are refused like in Ollama."""
    return tuple(base64_text.decode(value) for value in values)
