"""Plain YAML scalars, read as YAML 1.2's core schema reads them (plus dates, which the
network's parser also knows): `yes` and `on` are text, `010` is ten, `1e3` is a thousand.
"""

import math
import re
from typing import Final

import msgspec

TAG: Final = "tag:yaml.org,2002:"


class Timestamp(msgspec.Struct, frozen=True):
    """An unquoted date. Nothing in an SDL is a date, so it only has to be told from text."""

    text: str


Scalar = None | bool | int | float | str | Timestamp

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?"
    r"([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?"
)
_BASES: Final = {"0b": 2, "0o": 8, "0x": 16}
# Longer numbers are floats anyway, and Python refuses to read very long integers.
_MAX_INTEGER_DIGITS: Final = 30


def resolve(text: str) -> Scalar:
    """The value of an unquoted, untagged scalar."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    number = _number(text)
    if number is not None:
        return number
    return Timestamp(text) if _DATE.fullmatch(text) else text


def resolve_tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with a tag such as `!!str`; ValueError if it is not of that kind."""
    if tag in ("!", f"{TAG}str"):
        return text
    value = resolve(text)
    kinds: dict[str, tuple[type, ...]] = {
        f"{TAG}null": (type(None),),
        f"{TAG}bool": (bool,),
        f"{TAG}int": (int,),
        f"{TAG}float": (int, float),
        f"{TAG}timestamp": (Timestamp,),
    }
    if type(value) not in kinds.get(tag, ()):
        raise ValueError(tag)
    return float(value) if tag.endswith("float") and isinstance(value, int) else value


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if _NAN.fullmatch(text) else None


def _integer(text: str) -> int | float:
    digits = text.lstrip("+-")
    base = _BASES.get(digits[:2])
    if len(digits) > _MAX_INTEGER_DIGITS:
        return float(text) if base is None else math.inf
    size = int(digits, 10) if base is None else int(digits[2:], base)
    return -size if text[0] == "-" else size


def number_text(value: float) -> str:
    """A number as ECMAScript prints it (shortest digits, exponents below 1e-6 and from 1e21)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return _float_text(float(value))


def _float_text(value: float) -> str:
    if value == 0:
        return "0"
    mantissa, _, exponent_text = f"{value!r}".replace("e+", "e").partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    point = int(exponent_text or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    """`0.<digits> * 10**point`, written as ECMAScript's Number::toString lays it out."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = point - 1
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{tail}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def value_text(value: Scalar) -> str:
    """A scalar as the network's tools print it where text is expected, keys included."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case Timestamp():
            return value.text
    return value
