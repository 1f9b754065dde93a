"""The keys that were made after a server was started, in its state file.

The server and the command line both change them; a running server sees within a second
what another process did (`KeyWatch`). Of a key there is its SHA-256 and nothing else.
Everything here blocks for milliseconds.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from server import grants
from server.errors import InvalidRequest, NotFound, ServerError
from server.grants import Grant, Terms
from server.keys import NAME, KeyDigest, Scope, digest, generate_key
from server.state import State


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed in the scope and the terms of a key; what is UNSET stays.

    `limits` are changed one by one: a number sets one, null takes it away.
    """

    scope: Scope | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    limits: dict[str, int | None] | UnsetType = UNSET

    def applied(self, terms: Terms) -> Terms:
        """The terms after it. Raises `InvalidRequest` for what cannot be meant."""
        old = msgspec.to_builtins(terms, builtin_types=(datetime,))
        of_terms = msgspec.structs.replace(self, scope=UNSET)
        new = msgspec.to_builtins(of_terms, builtin_types=(datetime,))
        limits = old["limits"] | new.get("limits", {})
        try:
            return msgspec.convert(old | new | {"limits": limits}, Terms)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error)) from None


class KeyStore:
    """The keys in a state file."""

    def __init__(self, state: State) -> None:
        self._state = state

    def list(self) -> Sequence[Grant]:
        """Every key there ever was, oldest first."""
        with self._state.reading() as db:
            return _read(db)

    def create(self, name: str, scope: Scope, terms: Terms) -> str:
        """Draw a key and keep its digest; the key itself is only in what this returns.

        Raises `InvalidRequest` for a name that is none or was ever used.
        """
        if not NAME.fullmatch(name):
            raise InvalidRequest("a name is made of letters, digits and _ . @ -, at most 64")
        key = generate_key()
        row = (name, scope, digest(key), _json(terms), grants.now().isoformat())
        with self._state.writing() as db:
            try:
                db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)", row)
            except sqlite3.IntegrityError:
                raise InvalidRequest(
                    f"the name {name!r} is taken",
                    hint="a name is never used again, so that its usage stays its own",
                ) from None
        return key

    def change(self, name: str, change: Change) -> Grant:
        """Change what a key may do. Raises `NotFound`, `InvalidRequest`."""
        with self._state.writing() as db:
            before = _valid(db, name)
            scope = change.scope or before.key.scope
            row = (scope, _json(change.applied(before.terms)), name)
            db.execute("UPDATE keys SET scope = ?, terms = ? WHERE name = ?", row)
            return _valid(db, name)

    def revoke(self, name: str) -> None:
        """End a key; for good. Raises `NotFound`."""
        with self._state.writing() as db:
            _valid(db, name)
            at = grants.now().isoformat()
            db.execute("UPDATE keys SET revoked_at = ? WHERE name = ?", (at, name))


class KeyWatch:
    """Tells whether the keys changed. Used from one thread; costs microseconds, and never
    waits for another process.

    It follows the path, not the file: one that was put there instead counts as a change.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._db: sqlite3.Connection | None = None
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> Sequence[Grant] | None:
        """All keys if they are not those of the last call, else None.

        Raises `OSError`, `sqlite3.Error` and `ServerError`, then the next call tries again.
        """
        try:
            return self._changed()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go. May be repeated."""
        if self._db is not None:
            self._db.close()
        self._db, self._seen = None, None

    def _changed(self) -> Sequence[Grant] | None:
        file = self._file()
        if self._db is None or self._seen is None or self._seen[:2] != file:
            self.close()
            self._db = self._state.connect(wait_s=0)
            file = self._file()
        seen = (*file, int(self._db.execute("SELECT value FROM revision").fetchone()[0]))
        if seen == self._seen:
            return None
        found = _read(self._db)
        self._seen = seen
        return found

    def _file(self) -> tuple[int, int]:
        with suppress(FileNotFoundError):
            stat = self._state.path.stat()
            return stat.st_dev, stat.st_ino
        return 0, 0


def _read(db: sqlite3.Connection) -> Sequence[Grant]:
    rows = db.execute("SELECT * FROM keys ORDER BY created_at, name")
    return [_grant(row) for row in rows]


def _valid(db: sqlite3.Connection, name: str) -> Grant:
    row = db.execute("SELECT * FROM keys WHERE name = ?", (name,)).fetchone()
    found = _grant(row) if row else None
    if found is None or found.revoked_at is not None:
        raise NotFound(f"no key is called {name!r}")
    return found


def _grant(row: Sequence[str]) -> Grant:
    name, scope, sha256, terms, created_at, revoked_at = row
    try:
        return Grant(
            key=KeyDigest(name, Scope(scope), sha256),
            terms=msgspec.json.decode(terms, type=Terms),
            created_at=datetime.fromisoformat(created_at),
            revoked_at=datetime.fromisoformat(revoked_at) if revoked_at else None,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise ServerError(f"the stored key {name!r} cannot be read: {error}") from None


def _json(terms: Terms) -> str:
    return msgspec.json.encode(terms).decode()
