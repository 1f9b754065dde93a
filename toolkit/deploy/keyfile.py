"""The key of an endpoint: drawn once, kept in its key file, passed on as a digest."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from server.keys import KeyDigest, KeyRing, Scope, digest, generate_key, read_key_file
from server.keys import write_key_file as write
from toolkit.errors import ConfigError, CredentialsError

OWNER = "owner"


def ensure(path: Path) -> str:
    """The key at `path`; a new one (mode 0600) if there is none. Safe to race.

    `ConfigError` where nothing can be written, `CredentialsError` for a file without key.
    """
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise unwritable(error) from None
    return read(path)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".key-") as folder:
        fresh = Path(folder) / path.name
        write(fresh, generate_key())
        with suppress(FileExistsError):  # another was quicker: that one counts
            os.link(fresh, path)


def unwritable(error: OSError) -> ConfigError:
    """What a person is told when our files cannot be written."""
    where = f"{error.filename}: " if error.filename else ""
    return ConfigError(
        f"{where}{error.strerror or error}",
        hint="Everything is kept below AKASH_LLM_HOME: is there room, and may you write there?",
    )


def read(path: Path) -> str:
    """The key at `path`, or `CredentialsError`."""
    try:
        return read_key_file(path)
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"the key file {path} cannot be used: {error}",
            hint="Close the endpoint, remove the file, and deploy again for a new key.",
        ) from None


def as_digests(key: str) -> str:
    """What a server is told about the key: its owner may do everything."""
    return KeyRing([KeyDigest(OWNER, Scope.ADMIN, digest(key))]).to_text()


def is_known(key: str, digests: str) -> bool:
    """Whether a server told `digests` would accept the key."""
    return KeyRing.from_text(digests).find(key) is not None
