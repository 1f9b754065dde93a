"""CPU, sizes and amounts as numbers.

`*_text` computes what the network's TypeScript tools put in the manifest (ECMAScript
arithmetic included, or hashes would differ); `exact_*` gives the number when every
implementation agrees on it, else `None`.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from toolkit.sdl.model import Number
from toolkit.sdl.scalars import number_text

FACTORS: Final = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}
_POWERS: Final = {letter: power for power, letter in enumerate("kmgtpe", start=1)}
_LOOSE_SIZE = re.compile(r"([\d.]+)([a-z])([a-z]*)", re.ASCII)
_EXACT_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMGTPE]i?|Ki)")
_CPU = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)")
_CHAIN_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?")
_CHAIN_CPU = re.compile(r"[0-9]+m|[0-9]+(\.[0-9]+)?")
_NUMBER_START = re.compile(r"\.?[0-9]+(?:\.[0-9]*)?")
# Longer ones name no hardware, and arithmetic with them would not end soon.
_MAX_LENGTH: Final = 40


def size_text(size: str) -> str:
    """Bytes as the manifest writes them; ValueError for text that has no meaning."""
    found = _LOOSE_SIZE.match(size.lower()) if len(size) <= _MAX_LENGTH else None
    number = _NUMBER_START.match(found[1]) if found else None
    if found is None or number is None:
        raise ValueError(size)
    base = 1024 if found[3] == "i" else 1000
    product = float(number[0]) * float(base ** _POWERS.get(found[2], 0))
    return number_text(-(-Fraction(product) // 1))


def is_chain_size(size: str) -> bool:
    """Whether the chain's tools read `size`: they know fewer spellings."""
    return len(size) <= _MAX_LENGTH and bool(_CHAIN_SIZE.fullmatch(size))


def is_chain_cpu(units: Number | str) -> bool:
    """Whether the chain's tools read `units`."""
    text = units if isinstance(units, str) else number_text(units)
    return len(text) <= _MAX_LENGTH and bool(_CHAIN_CPU.fullmatch(text))


def exact_size(size: str) -> int | None:
    """Bytes, if all implementations read `size` as the same whole number of them."""
    found = _EXACT_SIZE.fullmatch(size) if len(size) <= _MAX_LENGTH else None
    if found is None or found[2] not in FACTORS:
        return None
    product = Decimal(found[1]) * FACTORS[found[2]]
    return int(product) if product == int(product) else None


def cpu_text(units: Number | str) -> str:
    """Thousandths of a core as the manifest writes them."""
    if not isinstance(units, str):
        return number_text(float(units) * 1000)
    number, suffix = _cpu_parts(units)
    return number_text(float(number) * (1 if suffix.lower() == "m" else 1000))


def exact_cpu(units: Number | str) -> int | None:
    """Thousandths of a core, if all implementations agree on the same whole number."""
    number, suffix = _cpu_parts(units) if isinstance(units, str) else (number_text(units), "")
    if suffix not in ("", "m") or len(number) > _MAX_LENGTH or "e" in number:
        return None
    milli = Decimal(number) * (1 if suffix else 1000)
    is_whole = milli == int(milli) and not (suffix and "." in number)
    return int(milli) if is_whole and cpu_text(units) == str(int(milli)) else None


def _cpu_parts(units: str) -> tuple[str, str]:
    found = _CPU.fullmatch(units)
    if found is None:
        raise ValueError(units)
    return found[1], found[2]


def exact_amount(amount: Number | str) -> Decimal | None:
    """A price as a decimal, if it is one that the chain can hold (at most 18 places)."""
    text = amount if isinstance(amount, str) else number_text(amount)
    if "e" in text or len(text) > _MAX_LENGTH:
        return None
    value = Decimal(text)
    _, _, places = text.partition(".")
    return value if len(places) <= 18 else None


def amount_text(amount: Number | str) -> str:
    """A price as the group specification writes it."""
    return amount if isinstance(amount, str) else number_text(amount)


def count_text(units: Number | str | None) -> str:
    """A number of GPUs as the manifest writes it."""
    if units is None:
        return "0"
    if not isinstance(units, str):
        return number_text(units)
    found = re.match(r"\s*[-+]?[0-9]+", units)
    return (
        number_text(int(found[0]) if len(found[0]) <= _MAX_LENGTH else float(found[0]))
        if found
        else "NaN"
    )


def exact_count(units: Number | str | None) -> int | None:
    """A number of GPUs, if it is a whole one."""
    text = count_text(units)
    is_whole = text.isdecimal() and (not isinstance(units, str) or units.isdecimal())
    return int(text) if is_whole and len(text) <= _MAX_LENGTH else None
