"""What looks like a secret, and taking known secrets out of what is written.

A parameter of a notebook is stored with it, twice; what a cell prints is stored too. So
secrets are refused as parameters, and those that we know of are taken out of artefacts.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit import paths

HIDDEN = "[hidden]"
SHORTEST = 8  # shorter values would take ordinary words out of texts

_NAME = re.compile(
    r"(^|_)(key|apikey|token|secret|passw(or)?d|passphrase|credentials?|bearer|mnemonic)($|_)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"_(file|path|dir|name|url)$", re.IGNORECASE)
_VALUE = re.compile(
    r"(?<![\w-])("
    r"ak-[\w-]{6,}|hf_\w{6,}|sk-[\w-]{6,}|gh[pousr]_\w{16,}|(?-i:AKIA[0-9A-Z]{12,})|"
    r"ac\.sk\.[\w.-]{6,}|xox[abp]-[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r")|\bbearer\s+[\w.~+/=-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE | re.ASCII,
)


def is_secret_name(name: str) -> bool:
    """Whether a parameter of that name would hold a secret (and not say where one lies)."""
    return bool(_NAME.search(name)) and not _PLACE.search(name)


def is_secret_value(value: object) -> bool:
    """Whether a value, or anything in it, has the form of a key or token."""
    if isinstance(value, str):
        return bool(_VALUE.search(value))
    if isinstance(value, Mapping):
        return any(is_secret_value(part) for pair in value.items() for part in pair)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return any(is_secret_value(part) for part in value)
    return False


_FILE = "_FILE"


def known_secrets(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The secrets at hand: variables named like one, files that such variables name, and the keys
    of endpoints here."""
    named = {value for name, value in environment.items() if is_secret_name(name)}
    files = {
        Path(value).expanduser()
        for name, value in environment.items()
        if name.endswith(_FILE) and is_secret_name(name.removesuffix(_FILE)) and value
    }
    keys = {_key(path) for path in (*files, *paths.endpoints().glob("*/api.key"))}
    return frozenset(secret for secret in named | keys if len(secret) >= SHORTEST)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without the given secrets, and without anything that has the form of one."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _VALUE.sub(HIDDEN, text)


def _key(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
