"""Orders: what was asked of an account that pays for it, each written down before it was.

An order is one deployment at the Console, from before it is asked for until the account has
said that it is closed. Its `name` is unique and travels with it: it finds the deployment
again when the answer was lost, and tells ours from all others. A row is only ever added
to; what it has cost stays in it.
"""

import re
import secrets
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from toolkit import paths
from toolkit.deploy.akash.preview import previewed
from toolkit.deploy.ledger import Ledger, log_event
from toolkit.errors import ConfigError

_NAME = re.compile(r".+\.akash-llm\.([0-9a-f]{8})\.([0-9a-f]{32})\.([0-9]{1,6})")
_HOME = re.compile(r"[0-9a-f]{8}")


class OrderState(StrEnum):
    """What is known of an order. Only `CLOSED` and `NEVER` mean that it costs nothing."""

    SENT = "sent"  # asked for; the answer has not come
    PLACED = "placed"  # it exists, and no lease was asked for
    LEASED = "leased"  # a lease was asked for: it may bill
    CLOSED = "closed"  # the account says so
    NEVER = "never"  # it was never made


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment at the Console.

    `hash` is that of the manifest which the Console will make of `sdl`; `manifest` what it
    answered. `price` is uact per block. `spent` and `funded` are uact as the account last told
    them: of what was put in while it was open, the rest comes back at its end. `failure` is why it
    was given up. `changing` is another definition that the lease was, or was about to be, told:
    until it is None again it is not known which of the two runs.
    """

    name: str
    uid: str
    number: int
    is_successor: bool
    state: OrderState
    sdl: str
    hash: str
    sent_at: datetime
    dseq: str | None = None
    manifest: str | None = None
    provider: str | None = None
    price: Decimal | None = None
    leased_at: datetime | None = None
    ends_at: datetime | None = None
    closed_at: datetime | None = None
    spent: Decimal | None = None
    failure: str | None = None
    changing: str | None = None
    funded: Decimal | None = None

    @property
    def is_open(self) -> bool:
        return self.state not in (OrderState.CLOSED, OrderState.NEVER)


class Orders:
    """The orders in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # -- changes --------------------------------------------------------------------

    def add(self, uid: str, *, label: str, sdl: str, is_successor: bool = False) -> Order:
        """A new row, `sent`; on disk when this returns. `ConfigError` while another of the
        same deployment is open."""
        with self.ledger.writing() as db:
            last = db.execute("SELECT max(number) FROM orders WHERE uid = ?", (uid,)).fetchone()
            number = (last[0] or 0) + 1
            name = f"{label}.akash-llm.{home_id()}.{uid}.{number}"
            now = _now()
            try:
                db.execute(
                    "INSERT INTO orders (name, uid, number, is_successor, state, sdl, hash,"
                    " sent_at) VALUES (?, ?, ?, ?, 'sent', ?, ?, ?)",
                    (name, uid, number, int(is_successor), sdl, previewed(sdl).hash, now),
                )
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"{label} has an order that is not closed yet",
                    hint="Settle it: akash-llm doctor",
                ) from None
            log_event(db, uid, now, "order sent", name)
            return _get(db, name)

    def placed(self, order: Order, dseq: str, manifest: str | None) -> Order:
        """It exists, by that number."""
        return self._set(order, "placed", state=OrderState.PLACED, dseq=dseq, manifest=manifest)

    def leasing(self, order: Order, provider: str, price: Decimal, at: datetime) -> Order:
        """A lease is about to be asked for: it may bill from `at` on, in the Console's time."""
        return self._set(
            order,
            "lease sent",
            state=OrderState.LEASED,
            provider=provider,
            price=str(price),
            leased_at=at.isoformat(),
        )

    def not_leased(self, order: Order) -> Order:
        """The provider never took it: another one may be asked."""
        return self._set(
            order,
            "no lease",
            state=OrderState.PLACED,
            provider=None,
            price=None,
            leased_at=None,
        )

    def limited(self, order: Order, ends_at: datetime) -> Order:
        """When the Console ends it by itself."""
        return self._set(order, "limited", ends_at=ends_at.isoformat())

    def asking(self, order: Order) -> Order:
        """It is about to be asked for, perhaps once more."""
        return self._set(order, "", sent_at=_now())

    def changing(self, order: Order, sdl: str) -> Order:
        """The lease is about to be told to run something else."""
        return self._set(order, "change sent", changing=sdl)

    def redefined(self, order: Order, sdl: str) -> Order:
        """It runs that, and no change is under way any more."""
        made = previewed(sdl)
        manifest = None if order.manifest is None else made.manifest
        event = "redefined" if sdl != order.sdl else "unchanged"
        return self._set(order, event, sdl=sdl, hash=made.hash, manifest=manifest, changing=None)

    def spent(self, order: Order, uact: Decimal) -> Order:
        """What it has cost so far; never less than before."""
        if order.spent is not None and uact <= order.spent:
            return order
        return self._set(order, "", spent=str(uact))

    def funded(self, order: Order, uact: Decimal) -> Order:
        """What was put into it so far; never less than before."""
        if order.funded is not None and uact <= order.funded:
            return order
        return self._set(order, "", funded=str(uact))

    def failed(self, order: Order, why: str) -> Order:
        """Why it is given up; the first reason stays."""
        return order if order.failure else self._set(order, "order failed", failure=why)

    def closed(self, order: Order, uact: Decimal) -> Order:
        """The account says that it is closed and has cost so much."""
        spent = str(max(uact, order.spent or Decimal(0)))
        return self._set(
            order, "order closed", state=OrderState.CLOSED, spent=spent, closed_at=_now()
        )

    def never(self, order: Order) -> Order:
        """It was never made."""
        return self._set(order, "order never made", state=OrderState.NEVER, closed_at=_now())

    def promote(self, order: Order) -> Order:
        """The successor takes the place of the order that is closed now."""
        return self._set(order, "", is_successor=0)

    def found_closed(self, name: str, uid: str, dseq: str, sdl: str, uact: Decimal) -> None:
        """What a deployment of ours cost that was there and in no open row; it is closed now."""
        number = int(name.rpartition(".")[2])
        with self.ledger.writing() as db:
            db.execute(
                "INSERT INTO orders (name, uid, number, state, sdl, hash, sent_at, dseq,"
                " closed_at, spent) VALUES (?, ?, ?, 'closed', ?, '', ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET state = 'closed', dseq = excluded.dseq,"
                " closed_at = excluded.closed_at, spent = excluded.spent",
                (name, uid, number, sdl, _now(), dseq, _now(), str(uact)),
            )
            log_event(db, uid, _now(), "order found and closed", name)

    # -- questions ------------------------------------------------------------------

    def of(self, uid: str) -> list[Order]:
        """All orders of one deployment, oldest first."""
        return self._select("WHERE uid = ? ORDER BY number", uid)

    def open_of(self, uid: str) -> list[Order]:
        """Those that may cost something; the one in use before one that shall succeed it."""
        found = [order for order in self.of(uid) if order.is_open]
        return sorted(found, key=lambda order: order.is_successor)

    def find(self, name: str) -> Order | None:
        return next(iter(self._select("WHERE name = ?", name)), None)

    def known_dseqs(self) -> frozenset[str]:
        """The numbers of all orders that have one."""
        return frozenset(o.dseq for o in self._select("WHERE dseq IS NOT NULL") if o.dseq)

    def failed_providers(self, since: datetime) -> frozenset[str]:
        """Providers that failed us, of leases from then on."""
        clause = "WHERE failure IS NOT NULL AND provider IS NOT NULL AND leased_at > ?"
        found = self._select(clause, since.isoformat())
        return frozenset(o.provider for o in found if o.provider)

    def good_providers(self) -> frozenset[str]:
        """Providers that have served us without failing."""
        clause = "WHERE failure IS NULL AND provider IS NOT NULL AND state = 'closed'"
        return frozenset(o.provider for o in self._select(clause) if o.provider)

    def all(self) -> list[Order]:
        """Every order there ever was, oldest first."""
        return self._select("ORDER BY sent_at, name")

    # -- SQLite ---------------------------------------------------------------------

    def _set(self, order: Order, event: str, **values: Any) -> Order:
        columns = ", ".join(f"{column} = ?" for column in values)
        with self.ledger.writing() as db:
            db.execute(
                f"UPDATE orders SET {columns} WHERE name = ?",  # noqa: S608 (our own names)
                (*values.values(), order.name),
            )
            if event:
                log_event(db, order.uid, _now(), event, order.name)
            return _get(db, order.name)

    def _select(self, clause: str, *values: str) -> list[Order]:
        if not self.ledger.path.exists():
            return []
        with self.ledger.reading() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM orders {clause}", values)  # noqa: S608
            return [_order(row) for row in rows]


def owner_of(name: str) -> tuple[str, str] | None:
    """The home and the deployment that an order's name says it is of; None for others' names."""
    found = _NAME.fullmatch(name)
    return (found[1], found[2]) if found else None


def home_id() -> str:
    """Eight hex digits that tell this home from others which share an account."""
    path = paths.home() / "home-id"
    try:
        return _read_home_id(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"home-id.{secrets.token_hex(4)}")
        fresh.write_text(secrets.token_hex(4), encoding="ascii")
        try:
            path.hardlink_to(fresh)
        except FileExistsError:  # another was quicker: that one counts
            pass
        finally:
            fresh.unlink()
        return _read_home_id(path)


def _read_home_id(path: Path) -> str:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not _HOME.fullmatch(text):
        raise ConfigError(
            f"{path} does not hold the eight hex digits that it should",
            hint="They are in the names of your deployments at console.akash.network.",
        )
    return text


_COLUMNS = ", ".join(Order.__struct_fields__)
_TIMES = ("sent_at", "leased_at", "ends_at", "closed_at")
_AMOUNTS = ("price", "spent", "funded")


def _get(db: sqlite3.Connection, name: str) -> Order:
    row = db.execute(f"SELECT {_COLUMNS} FROM orders WHERE name = ?", (name,)).fetchone()  # noqa: S608
    if row is None:
        raise KeyError(name)
    return _order(row)


def _order(row: tuple[Any, ...]) -> Order:
    values = dict(zip(Order.__struct_fields__, row, strict=True))
    for field in _TIMES:
        values[field] = datetime.fromisoformat(values[field]) if values[field] else None
    for field in _AMOUNTS:
        values[field] = Decimal(values[field]) if values[field] is not None else None
    values["state"] = OrderState(values["state"])
    values["is_successor"] = bool(values["is_successor"])
    return Order(**values)


def _now() -> str:
    return datetime.now(UTC).isoformat()
