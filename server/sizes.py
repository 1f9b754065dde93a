"""Amounts of memory as people write and read them: `8GiB`, `512 MiB`, `9.1 GiB`."""

import re

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(i?b)?)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size. `G` and `GiB` count in 1024s, `GB` in 1000s; no unit is bytes.

    Raises `ValueError` for anything else and for less than one byte.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a size such as 8GiB, got {text!r}")
    number, prefix, suffix = (part or "" for part in found.groups())
    units = _DECIMAL if suffix.lower() == "b" and prefix else _UNITS
    size = int(float(number) * units[prefix.lower()])
    if size < 1 or (suffix.lower() == "ib" and not prefix):
        raise ValueError(f"expected a size such as 8GiB, got {text!r}")
    return size


def show_size(size_bytes: float) -> str:
    """A size with the unit that suits it and at most one decimal."""
    unit = "GiB" if size_bytes >= 1 << 30 else "MiB"
    number = f"{size_bytes / _UNITS[unit[0].lower()]:.1f}".removesuffix(".0")
    return f"{number} {unit}"
