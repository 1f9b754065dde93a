"""A folder of conversations, shared by every notebook beside it.

Each file has one writer at a time: under a lock, and only if the file is as this writer
last saw it. Who comes second goes on in a file of their own, so that no turn is lost and
both know. Nothing is made on disk before there is something to keep.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from server.models.files import replace_file
from toolkit.errors import ConfigError
from toolkit.safetext import cleaned, well_formed
from toolkit.widgets.chat import files
from toolkit.widgets.chat.conversation import Conversation

LOCK = ".lock"
LOCK_TIMEOUT_S = 3.0
PRIVATE_FOLDER = 0o700
MAX_SLUG_CHARS = 40


@dataclass(frozen=True)
class Entry:
    """A file of the folder: its title and local time, or why it cannot be opened."""

    name: str
    title: str
    updated_at: datetime | None = None

    @property
    def is_broken(self) -> bool:
        return self.updated_at is None


@dataclass(frozen=True)
class Place:
    """Where a conversation is kept, and the digest of the file as it was last seen there."""

    name: str
    digest: str


class ConversationFolder:
    """The conversations in `path`. All methods raise `ConfigError` for what the disk refuses."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        # What was read of a file counts until it changes: there may be many, with pictures.
        self._known: dict[str, tuple[tuple[int, int], Entry]] = {}

    def entries(self) -> list[Entry]:
        """What is there, the latest first; what cannot be opened last."""
        try:
            names = [path.name for path in self.path.glob("*.json") if path.is_file()]
        except OSError as error:
            raise _refused(error) from None
        found = [entry for name in sorted(names) if (entry := self._entry(name)) is not None]
        found.sort(key=lambda e: e.updated_at.timestamp() if e.updated_at else 0.0, reverse=True)
        return found

    def read(self, name: str) -> tuple[Conversation, Place]:
        """A conversation, and its place for `write`."""
        data = self._bytes(name)
        return files.decode(data, name), Place(name, _digest(data))

    def write(self, conversation: Conversation, place: Place | None) -> Place:
        """Keep it where it was, or in a new file without `place`.

        Where the file is not as it was last seen, that one is left alone and this one goes
        into a new file: the place that is returned has another name then.
        """
        data = files.encode(conversation)
        with self._locked():
            if place is None or self._now(place.name) != place.digest:
                name = self.new_name(conversation)
            else:
                name = place.name
            self._put(name, data)
        return Place(name, _digest(data))

    def delete(self, place: Place) -> None:
        """Remove the file; refused where somebody has written to it since. May be repeated."""
        with self._locked():
            now = self._now(place.name)
            if now not in (place.digest, None):
                raise ConfigError(
                    f"{place.name} was changed by another notebook and is still there.",
                    hint="Open it again to see what is new in it.",
                )
            (self.path / place.name).unlink(missing_ok=True)

    def put_text(self, name: str, text: str) -> Path:
        """Write a file beside the conversations, for their owner only."""
        with self._locked():
            self._put(name, well_formed(text).encode())
        return self.path / name

    def _entry(self, name: str) -> Entry | None:
        """None for a file that has just gone."""
        try:
            seen = (self.path / name).stat()
        except FileNotFoundError:
            return None
        stamp = seen.st_mtime_ns, seen.st_size
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            self._known[name] = known = (stamp, self._read_entry(name))
        return known[1]

    def _read_entry(self, name: str) -> Entry:
        try:
            heading = files.heading_of(self._bytes(name), name)
        except ConfigError:
            return Entry(name, f"{cleaned(name)} (cannot be opened)")
        return Entry(name, cleaned(heading.title), files.local_time(heading.updated_at))

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise _refused(error) from None

    def _now(self, name: str) -> str | None:
        try:
            return _digest((self.path / name).read_bytes())
        except FileNotFoundError:
            return None

    def new_name(self, conversation: Conversation) -> str:
        """A file name for it that nothing has yet."""
        slug = re.sub(r"[^a-z0-9]+", "-", conversation.title.lower())[:MAX_SLUG_CHARS].strip("-")
        base = f"{conversation.created_at:%Y%m%d-%H%M%S}-{slug or 'conversation'}"
        name, number = f"{base}.json", 1
        while (self.path / name).exists():
            number += 1
            name = f"{base}-{number}.json"
        return name

    def _put(self, name: str, data: bytes) -> None:
        replace_file(self.path / name, data, mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            with FileLock(self.path / LOCK, timeout=LOCK_TIMEOUT_S, mode=0o600):
                yield
        except Timeout:
            raise ConfigError(
                f"Another notebook holds {self.path / LOCK}.",
                hint="The conversation is not kept until that one ends.",
            ) from None
        except OSError as error:
            raise _refused(error) from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refused(error: OSError) -> ConfigError:
    return ConfigError(
        f"{error.filename or 'the folder of conversations'}: {error.strerror or error}",
        hint="Is there room, and may you write there? ChatPanel(…, folder=…) names another.",
    )
