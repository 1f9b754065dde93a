"""What is there and what the books say, as lists that print as tables. Pure; HTML is escaped."""

from collections.abc import Iterator
from decimal import Decimal
from typing import ClassVar, NamedTuple

from toolkit.deploy.base import Part, Record, Spend
from toolkit.deploy.doctor import Diagnosis
from toolkit.deploy.keeper import EndpointStatus
from toolkit.deploy.ledger import Event
from toolkit.deploy.table import columns, usd
from toolkit.safetext import cleaned
from toolkit.tables import html_table

Row = tuple[str, ...]


class _Printed:
    """Heads, rows and a last line, as text and as HTML."""

    caption: ClassVar[str]
    heads: ClassVar[Row]
    none: ClassVar[str]

    def rows(self) -> list[Row]:
        """The cells, a row for each line."""
        raise NotImplementedError

    def last_line(self) -> str:
        """A sentence below; empty for none."""
        return ""

    def __str__(self) -> str:
        rows = self.rows()
        if not rows:
            return self.none
        table = columns([tuple(head.upper() for head in self.heads), *rows])
        return cleaned("\n".join(filter(None, (table, self.last_line()))))

    def _repr_html_(self) -> str:
        rows = self.rows()
        below = self.last_line() if rows else self.none
        return html_table(self.caption, self.heads, rows, below=below)


class Endpoints(_Printed, list[EndpointStatus]):
    """Open endpoints, as the ledger has them and as they are."""

    caption = "Open endpoints"
    heads = ("name", "target", "model", "health", "opened (UTC)", "spent", "URL", "key file")
    none = "nothing is open; start a private endpoint with: akash-llm up"

    def rows(self) -> list[Row]:
        return [row for one in self for row in _endpoint_rows(one)]


class Entry(NamedTuple):
    """A deployment of the ledger, what it has cost, and what happened to it."""

    record: Record
    spend: Spend | None
    events: tuple[Event, ...] = ()


class History(_Printed, list[Entry]):
    """All that was opened from here, oldest first."""

    caption = "Ledger"
    heads = ("name", "target", "model", "state", "opened (UTC)", "closed (UTC)", "spent", "why")
    none = "nothing was opened from here yet"

    def rows(self) -> list[Row]:
        return [_entry_row(entry) for entry in self]

    def last_line(self) -> str:
        known = [entry.spend for entry in self if entry.spend is not None]
        if not known:
            return ""
        total = sum((spend.spent_usd for spend in known), Decimal(0))
        rate = sum((spend.usd_per_hour for spend in known), Decimal(0))
        return f"in all {usd(total)}; now {usd(rate)} an hour"

    def events(self) -> "Events":
        """What happened to them, oldest first."""
        found = [(entry.record.name, event) for entry in self for event in entry.events]
        return Events(sorted(found, key=lambda pair: pair[1].at))


class Events(_Printed, list[tuple[str, Event]]):
    """What happened, with the name of what it happened to."""

    caption = "Events"
    heads = ("when (UTC)", "name", "what", "detail")
    none = "nothing happened yet"

    def rows(self) -> list[Row]:
        return [(f"{e.at:%Y-%m-%d %H:%M:%S}", name, e.what, e.detail) for name, e in self]


class Diagnoses(_Printed, list[Diagnosis]):
    """Where ledger and reality disagree."""

    caption = "Doctor"
    heads = ("name", "target", "what", "remedy")
    none = "ledger and reality agree"

    def rows(self) -> list[Row]:
        return [(d.name or d.uid or "account", d.target, d.what, d.remedy or "-") for d in self]


def _endpoint_rows(one: EndpointStatus) -> Iterator[Row]:
    """The endpoint, and below it its parts where there are several."""
    opened = f"{one.opened_at:%Y-%m-%d %H:%M}"
    health = one.health if one.detail == "answers" else f"{one.health}: {one.detail}"
    url, key_file = one.url or "-", str(one.key_file)
    yield one.name, one.target, one.model, health, opened, spent_text(one.spend), url, key_file
    if len(one.parts) > 1:
        yield from (_part_row(part, one.engine) for part in one.parts)


def _part_row(part: Part, engine: str) -> Row:
    process = f" (process {part.pid})" if part.pid else ""
    health = f"runs{process}" if part.is_running else "has ended"
    what = engine if part.service == "engine" else ""
    log = f"log: {part.log}" if part.log else ""
    return f"  {part.service}", "", what, health, "", "", "", log


def spent_text(spend: Spend | None) -> str:
    """What it has cost, at which rate, until when."""
    if spend is None:
        return "-"
    ends = f", ends {spend.ends_at:%m-%d %H:%M}" if spend.ends_at else ""
    return f"{usd(spend.spent_usd)} at {usd(spend.usd_per_hour)}/h{ends}"


def cost_text(spend: Spend | None, *, is_closed: bool) -> str:
    """What it has cost, and what comes back of the money set aside, as the end of a sentence."""
    so_far = "" if is_closed else " so far"
    if spend is None:
        return f"it cost nothing{so_far}"
    cost = f"it cost {usd(spend.spent_usd)}{so_far}"
    if spend.unused_usd is None:
        return cost
    comes = "came" if is_closed else "comes"
    return f"{cost}, and {usd(spend.unused_usd)} of what was set aside {comes} back"


def _entry_row(entry: Entry) -> Row:
    record, spend, _ = entry
    closed = f"{record.closed_at:%Y-%m-%d %H:%M}" if record.closed_at else "-"
    opened = f"{record.opened_at:%Y-%m-%d %H:%M}"
    spent = usd(spend.spent_usd) if spend else "-"
    what = (record.name, record.target, record.intent.model, str(record.state))
    return (*what, opened, closed, spent, record.error or "-")
