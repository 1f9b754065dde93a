"""Values that are not in a file: it names a secret, and the deployer puts it in on the way."""

import re
from typing import Final

SEALED: Final = "ac-secret://"
_NAME = re.compile(rf"{SEALED}([A-Za-z0-9_.-]+)")
_LONGEST_NAME: Final = 64


def secret_name(value: str) -> str:
    """The name of the secret that stands for a value; empty if the value is what it says."""
    found = _NAME.fullmatch(value)
    return found[1] if found else ""


def is_sealed(value: str) -> bool:
    """Whether a value names a secret, by a name that can be one's."""
    return 0 < len(secret_name(value)) <= _LONGEST_NAME
