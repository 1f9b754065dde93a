"""The ledger: what was opened, in SQLite, written before it is.

One row per deployment and one event per change of it, which is never altered. What is
rented has orders, too: what an account that pays was asked for, see
`toolkit.deploy.akash.orders`. Every method is one transaction that is on disk (WAL,
`synchronous=FULL`) when it returns; a process that dies in between leaves the row as it
was. Methods block for a few milliseconds. A connection is opened per call, so a `Ledger`
may be used from any thread and any number of processes.
"""

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from toolkit.deploy.base import Intent, Record, State
from toolkit.errors import ConfigError

BUSY_TIMEOUT_S = 30.0

_FIRST = (
    """CREATE TABLE deployments (
        uid TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        target TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('opening', 'ready', 'closing', 'closed')),
        intent TEXT NOT NULL,
        sdl TEXT NOT NULL,
        opened_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        closed_at TEXT,
        run_id TEXT,
        url TEXT,
        handle TEXT NOT NULL DEFAULT '{}',
        error TEXT
    ) STRICT""",
    "CREATE UNIQUE INDEX one_open_per_name ON deployments (name) WHERE state <> 'closed'",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL REFERENCES deployments (uid),
        at TEXT NOT NULL,
        what TEXT NOT NULL,
        detail TEXT NOT NULL DEFAULT ''
    ) STRICT""",
)
_ORDERS = (
    """CREATE TABLE orders (
        name TEXT PRIMARY KEY,
        uid TEXT NOT NULL REFERENCES deployments (uid),
        number INTEGER NOT NULL,
        is_successor INTEGER NOT NULL DEFAULT 0 CHECK (is_successor IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ('sent', 'placed', 'leased', 'closed', 'never')),
        sdl TEXT NOT NULL,
        hash TEXT NOT NULL,
        sent_at TEXT NOT NULL,
        dseq TEXT UNIQUE,
        manifest TEXT,
        provider TEXT,
        price TEXT,
        leased_at TEXT,
        ends_at TEXT,
        closed_at TEXT,
        spent TEXT,
        failure TEXT,
        UNIQUE (uid, number)
    ) STRICT""",
    # Two creates for one intent cannot be written down, but for what shall succeed the other.
    "CREATE UNIQUE INDEX one_open_order ON orders (uid, is_successor)"
    " WHERE state NOT IN ('closed', 'never')",
)
# The definition that a lease is being told, until it is known what it runs.
_CHANGES = ("ALTER TABLE orders ADD COLUMN changing TEXT",)
# What was put into it, of which the rest comes back.
_FUNDS = ("ALTER TABLE orders ADD COLUMN funded TEXT",)
# What each version of the schema adds to the one before.
_VERSIONS = (_FIRST, _ORDERS, _CHANGES, _FUNDS)
SCHEMA_VERSION = len(_VERSIONS)

_COLUMNS = "uid, state, intent, sdl, opened_at, updated_at, closed_at, run_id, url, handle, error"

_FOLLOWS: Mapping[State, frozenset[State]] = {
    State.OPENING: frozenset({State.READY, State.CLOSING}),
    State.READY: frozenset({State.READY, State.CLOSING}),
    State.CLOSING: frozenset({State.CLOSING, State.CLOSED}),
    State.CLOSED: frozenset(),
}


class Event(msgspec.Struct, frozen=True):
    """One change of one deployment."""

    at: datetime
    uid: str
    what: str
    detail: str


class Ledger:
    """The ledger at `path`; the file is made by the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- changes --------------------------------------------------------------------

    def open(self, intent: Intent, *, sdl: str, run_id: str | None = None) -> Record:
        """A new row, `opening`. `ConfigError` if the name has an open row already."""
        uid, now = uuid.uuid4().hex, _now()
        row = (uid, intent.name, intent.target, State.OPENING, _json(intent), sdl, now, now, run_id)
        with self.writing() as db:
            try:
                db.execute(
                    "INSERT INTO deployments (uid, name, target, state, intent, sdl, opened_at,"
                    " updated_at, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"an endpoint named {intent.name!r} is open already",
                    hint=f"See it with `akash-llm status {intent.name}`.",
                ) from None
            log_event(db, uid, now, State.OPENING)
            return _get(db, uid)

    def note(
        self, uid: str, *, url: str | None = None, handle: Mapping[str, str | int | float]
    ) -> Record:
        """Add what the target needs to find the deployment again."""
        with self.writing() as db:
            merged = {**_get(db, uid).handle, **handle}
            db.execute(
                "UPDATE deployments SET handle = ?, url = coalesce(?, url), updated_at = ?"
                " WHERE uid = ?",
                (_json(merged), url, _now(), uid),
            )
            log_event(db, uid, _now(), "noted", ", ".join(sorted(handle)))
            return _get(db, uid)

    def revise(
        self,
        uid: str,
        intent: Intent,
        *,
        sdl: str,
        url: str | None = None,
        handle: Mapping[str, str | int | float] | None = None,
    ) -> Record:
        """Another intent and definition for the same name, once they are what is there; with
        the address and what finds it, all at once."""
        with self.writing() as db:
            merged = {**_get(db, uid).handle, **(handle or {})}
            db.execute(
                "UPDATE deployments SET intent = ?, sdl = ?, url = coalesce(?, url), handle = ?,"
                " updated_at = ? WHERE uid = ?",
                (_json(intent), sdl, url, _json(merged), _now(), uid),
            )
            log_event(db, uid, _now(), "revised")
            return _get(db, uid)

    def adopt(self, uid: str, intent: Intent, *, sdl: str) -> Record:
        """A row for what was found there and is in no row: it is about to be closed."""
        now = _now()
        row = (uid, intent.name, intent.target, State.CLOSING, _json(intent), sdl, now, now)
        with self.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO deployments (uid, name, target, state, intent, sdl,"
                " opened_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            log_event(db, uid, now, "found")
            return _get(db, uid)

    def move(self, uid: str, state: State, *, error: str | None = None) -> Record:
        """Take the row to `state`; the first `error` stays.

        Closing a closed row changes nothing. `ValueError` for a step that no life of a
        deployment has, such as out of `closed`.
        """
        with self.writing() as db:
            record, now = _get(db, uid), _now()
            if record.state is State.CLOSED and state in (State.CLOSING, State.CLOSED):
                return record
            if state not in _FOLLOWS[record.state]:
                raise ValueError(f"{record.name}: {record.state} cannot become {state}")
            db.execute(
                "UPDATE deployments SET state = ?, error = coalesce(error, ?), updated_at = ?,"
                " closed_at = ? WHERE uid = ?",
                (state, error, now, now if state is State.CLOSED else None, uid),
            )
            log_event(db, uid, now, state, error or "")
            return _get(db, uid)

    # -- questions ------------------------------------------------------------------

    def find(self, name: str) -> Record | None:
        """The open row of that name."""
        return next(iter(self._select("WHERE name = ? AND state <> 'closed'", name)), None)

    def latest(self, name: str) -> Record | None:
        """The newest row of that name, open or closed."""
        found = self._select("WHERE name = ? ORDER BY opened_at DESC, rowid DESC LIMIT 1", name)
        return next(iter(found), None)

    def get(self, uid: str) -> Record | None:
        return next(iter(self._select("WHERE uid = ?", uid)), None)

    def open_records(self, *, run_id: str | None = None) -> list[Record]:
        """Open rows, oldest first; with `run_id` only those that this run opened."""
        if run_id is None:
            return self._select("WHERE state <> 'closed' ORDER BY opened_at, rowid")
        where = "WHERE state <> 'closed' AND run_id = ? ORDER BY opened_at, rowid"
        return self._select(where, run_id)

    def records(self) -> list[Record]:
        """All rows, oldest first."""
        return self._select("ORDER BY opened_at, rowid")

    def events(self, uid: str) -> list[Event]:
        """What happened to one deployment, oldest first."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT at, uid, what, detail FROM events WHERE uid = ? ORDER BY id", (uid,)
            )
            return [Event(datetime.fromisoformat(at), *rest) for at, *rest in rows]

    # -- SQLite ---------------------------------------------------------------------

    def _select(self, clause: str, *values: str) -> list[Record]:
        if not self.path.exists():
            return []
        with self.reading() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM deployments {clause}", values)
            return [_record(row) for row in rows]

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to ask by."""
        with closing(self._connect()) as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that takes the only write lock first: no lost updates."""
        with closing(self._connect()) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise self._unusable(error) from None
                raise

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.DatabaseError) as error:
            raise self._unusable(error) from None
        try:
            _prepare(db)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise self._unusable(error) from None
            raise
        return db

    def _unusable(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"the ledger {self.path} cannot be used: {error}",
            hint="Is there room, and may you write there? If the file is damaged, move it away"
            " and run `akash-llm doctor`.",
        )


def _prepare(db: sqlite3.Connection) -> None:
    """Pragmas, and what the schema lacks."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    if _version(db) < SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")
        for statements in _VERSIONS[_version(db) :]:  # none if somebody else was quicker
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {max(_version(db), SCHEMA_VERSION)}")
        db.execute("COMMIT")
    if _version(db) > SCHEMA_VERSION:
        raise ConfigError(
            "the ledger was written by a newer akash-llm", hint="Update akash-llm and try again."
        )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def log_event(db: sqlite3.Connection, uid: str, at: str, what: str, detail: str = "") -> None:
    """Write down, in the transaction of `db`, that something happened to a deployment."""
    db.execute(
        "INSERT INTO events (uid, at, what, detail) VALUES (?, ?, ?, ?)", (uid, at, what, detail)
    )


def _get(db: sqlite3.Connection, uid: str) -> Record:
    row = db.execute(f"SELECT {_COLUMNS} FROM deployments WHERE uid = ?", (uid,)).fetchone()
    if row is None:
        raise KeyError(uid)
    return _record(row)


def _record(row: tuple[str, ...]) -> Record:
    uid, state, intent, sdl, opened, updated, closed, run_id, url, handle, error = row
    return Record(
        uid=uid,
        state=State(state),
        intent=msgspec.json.decode(intent, type=Intent),
        sdl=sdl,
        opened_at=datetime.fromisoformat(opened),
        updated_at=datetime.fromisoformat(updated),
        closed_at=datetime.fromisoformat(closed) if closed else None,
        run_id=run_id,
        url=url,
        handle=msgspec.json.decode(handle, type=dict[str, str | int | float]),
        error=error,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _now() -> str:
    return datetime.now(UTC).isoformat()
