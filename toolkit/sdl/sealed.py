"""Values that are not in a file: it names a secret, and the deployer puts it in on the way.

The names are those that the Akash Console accepts; any other value that begins as these do
is refused there.
"""

import re
from typing import Final

SEALED: Final = "ac-secret://"
_NAME = re.compile(rf"{SEALED}([A-Za-z_][A-Za-z0-9_]{{0,63}})")


def secret_name(value: str) -> str:
    """The name of the secret that stands for a value; empty if the value is what it says."""
    found = _NAME.fullmatch(value)
    return found[1] if found else ""


def is_sealed(value: str) -> bool:
    """Whether a value names a secret."""
    return bool(secret_name(value))
