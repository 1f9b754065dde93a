"""What a server remembers beside its models: one SQLite file, for its owner only.

Keys and usage lie in it. Any number of processes may use it at once: write-ahead log, short
transactions. It is made by whoever comes first. Everything here blocks for milliseconds.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import filelock

from server.errors import ServerError, StorageFull

FILE_NAME = "state.db"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0

Durability = Literal["FULL", "NORMAL"]

# `revision` counts the changes of keys, whoever makes them.
_SCHEMA = (
    """CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        scope TEXT NOT NULL CHECK (scope IN ('inference', 'read', 'admin')),
        sha256 TEXT NOT NULL UNIQUE CHECK (length(sha256) = 64),
        terms TEXT NOT NULL,
        created_at TEXT NOT NULL,
        revoked_at TEXT
    ) STRICT""",
    "CREATE TABLE revision (value INTEGER NOT NULL) STRICT",
    "INSERT INTO revision VALUES (0)",
    """CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN
        UPDATE revision SET value = value + 1;
    END""",
    """CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN
        UPDATE revision SET value = value + 1;
    END""",
    """CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN
        UPDATE revision SET value = value + 1;
    END""",
    """CREATE TABLE usage (
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        day TEXT NOT NULL,
        requests INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (key, model, day)
    ) STRICT, WITHOUT ROWID""",
)


class State:
    """The file in a folder; neither is made before it is needed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    @property
    def exists(self) -> bool:
        """Whether something is there, usable or not."""
        return os.path.lexists(self.path)

    def prepare(self) -> None:
        """Make the file, or see that it can be used. Raises `ServerError`."""
        with self.writing():
            pass

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with. Raises `ServerError`."""
        with self._errors(), closing(self.connect()) as db:
            yield db

    @contextmanager
    def writing(self, durability: Durability = "FULL") -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when it is over. Raises `ServerError`.

        NORMAL may lose the last ones with the power, never with the process.
        """
        with self._errors(), closing(self.connect()) as db:
            db.execute(f"PRAGMA synchronous = {durability}")
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db

    def connect(self, wait_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
        """A new connection, that waits so long for others; close it.

        Raises `OSError` (a lock that nobody gives back is one) and `sqlite3.Error`.
        """
        _make_private(self.path)
        db = sqlite3.connect(
            self.path, timeout=wait_s, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(db, self.path.with_suffix(".lock"), wait_s)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageFull(f"no space left for {self.path}") from error
            raise ServerError(
                f"the state in {self.path} cannot be used: {error}",
                hint="check who owns it, or choose another folder with AKASH_LLM_STATE",
            ) from error


def _make_private(path: Path) -> None:
    """The file with mode 0600: SQLite gives those beside it the same."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare(db: sqlite3.Connection, lock: Path, wait_s: float) -> None:
    if _version(db) == 0:
        # SQLite waits for nobody when it changes to a write-ahead log.
        with filelock.FileLock(lock, timeout=wait_s, mode=0o600):
            if _version(db) == 0:  # nobody else was quicker
                _make_tables(db)
    if _version(db) > SCHEMA_VERSION:
        raise sqlite3.DatabaseError("it was written by a newer version")


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    with db:
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
