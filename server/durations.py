"""Spans of time as Ollama's clients and variables write them.

A number is seconds. A text is a Go duration (`300ms`, `5m`, `1h30m`, `0`); a
negative one, and anything beyond what Go can count, means forever.
"""

import math
import re

FOREVER = math.inf
LONGEST_S = (2**63 - 1) / 1e9  # Go counts nanoseconds in 64 bits

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+", re.ASCII)
_UNIT = re.compile(r"[^\d.]*", re.ASCII)
_LONGEST_TEXT = 64


def parse_go_duration(text: str) -> float:
    """Seconds of a Go duration, negative ones as such.

    Raises `ValueError` with the text of Go's own parser.
    """
    quoted = '"' + text[:_LONGEST_TEXT] + '"'
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if rest == "0":
        return 0.0
    if not rest or len(text) > _LONGEST_TEXT:
        raise ValueError(f"time: invalid duration {quoted}")
    seconds = 0.0
    while rest:
        number = _NUMBER.match(rest)
        if number is None:
            raise ValueError(f"time: invalid duration {quoted}")
        rest = rest[number.end() :]
        unit = _UNIT.match(rest)
        name = unit.group() if unit else ""
        if not name:
            raise ValueError(f"time: missing unit in duration {quoted}")
        if name not in _UNITS:
            raise ValueError(f'time: unknown unit "{name}" in duration {quoted}')
        rest = rest[len(name) :]
        seconds += float(number.group()) * _UNITS[name]
    return -seconds if text.startswith("-") else seconds


def lifetime(value: float | str) -> float:
    """How long to keep something: seconds, 0 for not at all, `FOREVER` if negative.

    Raises `ValueError` like `parse_go_duration`.
    """
    seconds = parse_go_duration(value) if isinstance(value, str) else float(value)
    return FOREVER if seconds < 0 or seconds >= LONGEST_S else seconds
