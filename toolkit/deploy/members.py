"""The processes of a record, as its handle has them, and whether they live.

What is said of our server stands there plainly (`pid`, `started_at`, `log`, `port`), as in rows
from when there was nothing else; what is said of an engine behind it begins with `engine_`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from toolkit.deploy import processes
from toolkit.deploy.base import Part, Record
from toolkit.deploy.processes import Started

SERVER: Final = "server"
ENGINE: Final = "engine"
_PREFIX: Final[Mapping[str, str]] = {SERVER: "", ENGINE: "engine_"}


def handle(service: str, **values: str | int | float) -> dict[str, str | int | float]:
    """What is noted of a process, by the keys of its handle."""
    return {f"{_PREFIX[service]}{key}": value for key, value in values.items()}


def services(record: Record) -> tuple[str, ...]:
    """Which processes the record was given: one, or a server and its engine."""
    has_engine = f"{_PREFIX[ENGINE]}port" in record.handle
    return (SERVER, ENGINE) if has_engine else (SERVER,)


def noted(record: Record) -> dict[str, Started]:
    """The processes that were noted, whether they live or not."""
    found = {}
    for service in services(record):
        prefix = _PREFIX[service]
        pid = record.handle.get(f"{prefix}pid")
        started_at = record.handle.get(f"{prefix}started_at")
        if pid is not None and started_at is not None:
            found[service] = Started(int(pid), float(started_at))
    return found


def living(record: Record) -> dict[str, Started]:
    """Those that live.

    The only one of a record is found by its mark as well, when nobody could note it.
    """
    found = {
        service: process
        for service, process in noted(record).items()
        if processes.is_alive(process, record.uid)
    }
    if not found and services(record) == (SERVER,):
        lost = _recovered(record.uid)
        return {SERVER: lost} if lost else {}
    return found


def is_whole(record: Record, alive: Mapping[str, Started]) -> bool:
    """Whether all that the record was given is among them."""
    return set(alive) == set(services(record))


def parts(record: Record) -> tuple[Part, ...]:
    """Each with its number and its log."""
    alive, known = living(record), noted(record)
    return tuple(
        Part(
            service=service,
            is_running=service in alive,
            pid=found.pid if (found := alive.get(service) or known.get(service)) else None,
            log=str(log_of(record, service) or "") or None,
        )
        for service in services(record)
    )


def log_of(record: Record, service: str) -> Path | None:
    """The log of its last start; there may be no file at that path yet."""
    given = record.handle.get(f"{_PREFIX[service]}log")
    return Path(str(given)) if given else None


def _recovered(uid: str) -> Started | None:
    leaders = (p for p in processes.marked(uid).get(uid, ()) if processes.is_leader(p))
    return next((Started(p.pid, p.create_time()) for p in leaders), None)
