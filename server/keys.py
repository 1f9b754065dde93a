"""Keys as digests: what a server needs to know a key by, never the key itself.

A key is drawn once, given to the person who deploys, and passed on only as
`name:scope:sha256hex`. Plain SHA-256 is enough because a key holds 256 random
bits: there is nothing to guess. Nothing here knows HTTP.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec

from server.models.files import replace_file

KEY_PREFIX = "ak-"
KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do. Inference includes read, admin includes both."""

    INFERENCE = "inference"
    READ = "read"
    ADMIN = "admin"

    def allows(self, needed: "Scope") -> bool:
        """Whether a key of this scope may do what needs `needed`."""
        return _RANK[self] >= _RANK[needed]


_RANK = {Scope.READ: 0, Scope.INFERENCE: 1, Scope.ADMIN: 2}


class KeyDigest(msgspec.Struct, frozen=True):
    """One key as a server knows it. `sha256` is 64 lower-case hex digits."""

    name: str
    scope: Scope
    sha256: str


def generate_key() -> str:
    """A new key: printable, URL-safe, 256 bits from the system's random source."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest(key: str) -> str:
    """The SHA-256 of a key in hex. Any text has one, so that any guess can be compared."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class KeyRing:
    """The keys that a server accepts; false when it has none."""

    def __init__(self, keys: Iterable[KeyDigest] = ()) -> None:
        self.keys = tuple(keys)

    @classmethod
    def from_text(cls, text: str) -> "KeyRing":
        """Parse `name:scope:sha256hex[,…]`, the form of AKASH_LLM_KEYS.

        Raises `ValueError` with one line per entry that is wrong. The message never
        repeats the third field: somebody may have put the key itself there.
        """
        entries = [entry.strip() for entry in text.split(",")]
        parsed = [_parse(number, entry) for number, entry in enumerate(entries, 1) if entry]
        problems = [entry for entry in parsed if isinstance(entry, str)]
        keys = [entry for entry in parsed if isinstance(entry, KeyDigest)]
        names = [key.name for key in keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"the name {name!r} is used twice" for name in twice]
        if problems:
            raise ValueError("\n".join(problems))
        return cls(keys)

    def to_text(self) -> str:
        """The form that `from_text` reads."""
        return ",".join(f"{key.name}:{key.scope}:{key.sha256}" for key in self.keys)

    def find(self, key: str) -> KeyDigest | None:
        """The entry of a key, or None. Takes the same time whether and where it matches."""
        wanted = digest(key)
        found = None
        for entry in self.keys:
            if hmac.compare_digest(entry.sha256, wanted):
                found = entry
        return found

    def __bool__(self) -> bool:
        return bool(self.keys)

    def __repr__(self) -> str:
        return f"KeyRing({[key.name for key in self.keys]})"


def _parse(number: int, entry: str) -> KeyDigest | str:
    """One entry, or what is wrong with it."""
    fields = entry.split(":")
    if len(fields) != 3:
        return f"entry {number}: expected name:scope:sha256hex, got {len(fields)} field(s)"
    name, scope, sha256 = fields
    if not NAME.fullmatch(name):
        return f"entry {number}: a name is made of letters, digits and _ . @ -"
    if scope not in set(Scope):
        return f"entry {number} ({name}): the scope must be one of {', '.join(Scope)}"
    if not SHA256.fullmatch(sha256.lower()):
        return f"entry {number} ({name}): the third field must be the SHA-256 in 64 hex digits"
    return KeyDigest(name, Scope(scope), sha256.lower())


def write_key_file(path: Path, key: str) -> None:
    """Put a key into a file that only its owner can read; replaces it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f"{key}\n".encode(), mode=0o600)


def read_key_file(path: Path) -> str:
    """The key in a file. Raises `OSError` if it cannot be read, `ValueError` if it is empty."""
    key = path.read_text(encoding="utf-8").strip()
    if not key or any(character.isspace() for character in key):
        raise ValueError(f"{path} does not hold one key")
    return key
