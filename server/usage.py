"""Who used how much: counts per key, model and day (UTC).

Requests are counted in memory and written every second, in a thread: a crash loses that
second, a stream never waits for a disk. Without a state file the counts stay in memory.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta

import msgspec

from server import grants
from server.errors import InvalidRequest, ServerError
from server.models.name import ModelName
from server.state import State

WRITE_EVERY_S = 1.0
_log = logging.getLogger("akash_llm.usage")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What requests took. `failed` are those of them that ended in an error, `seconds` the
    time that answers were computed for."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Counts") -> "Counts":
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        names = self.__struct_fields__
        return Counts(**{n: a + b for n, a, b in zip(names, mine, theirs, strict=True)})


class Place(msgspec.Struct, frozen=True):
    """What counts belong to: the name of a key, the name of a model, a day."""

    key: str
    model: str
    day: date


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one place, flat. `day` is UTC."""

    key: str
    model: str
    day: date
    requests: int
    failed: int
    prompt_tokens: int
    output_tokens: int
    seconds: float


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which counts are wanted; None is any. Case does not count in the name of a model."""

    key: str | None = None
    model: str | None = None
    since: date | None = None

    @classmethod
    def of(cls, *, key: str | None, model: str | None, since: str | None) -> "Query":
        """What was asked for in words. Raises `InvalidRequest`."""
        name = ModelName.parse(model).display() if model else None
        try:
            return cls(key=key, model=name, since=date.fromisoformat(since) if since else None)
        except ValueError:
            raise InvalidRequest("since must be a day such as 2026-01-31") from None

    def wants(self, place: Place) -> bool:
        """Whether that place is among them."""
        return (
            self.key in (None, place.key)
            and (self.model is None or self.model.lower() == place.model.lower())
            and (self.since is None or place.day >= self.since)
        )


class UsageFile:
    """The counts in a state file. Everything blocks for milliseconds."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, counts: Mapping[Place, Counts]) -> None:
        """Add to what is there. Raises `ServerError`, then nothing was added."""
        values = [
            (place.key, place.model, place.day.isoformat(), *msgspec.structs.astuple(each))
            for place, each in counts.items()
        ]
        with self._state.writing("NORMAL") as db:
            db.executemany(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " requests = requests + excluded.requests, failed = failed + excluded.failed,"
                " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
                " output_tokens = output_tokens + excluded.output_tokens,"
                " seconds = seconds + excluded.seconds",
                values,
            )

    def read(self, query: Query) -> Mapping[Place, Counts]:
        """The counts that are wanted, the newest day first. Raises `ServerError`."""
        since = query.since.isoformat() if query.since else None
        with self._state.reading() as db:
            found = db.execute(
                "SELECT * FROM usage WHERE (?1 IS NULL OR key = ?1)"
                " AND (?2 IS NULL OR lower(model) = lower(?2)) AND (?3 IS NULL OR day >= ?3)"
                " ORDER BY day DESC, key, model",
                (query.key, query.model, since),
            )
            return dict(_decoded(row) for row in found)

    def forget(self, before: date) -> None:
        """Remove the days before that one. Raises `ServerError`."""
        with self._state.writing("NORMAL") as db:
            db.execute("DELETE FROM usage WHERE day < ?", (before.isoformat(),))


class Usage:
    """The counts of a running server. `keep_days` bounds how long they are kept."""

    def __init__(self, file: UsageFile | None = None, *, keep_days: int = 400) -> None:
        self._file = file
        self._keep = timedelta(days=keep_days)
        self._unwritten: dict[Place, Counts] = {}
        self._writing = asyncio.Lock()
        self._pruned: date | None = None
        self._is_failing = False

    def add(self, key: str, model: str, counts: Counts) -> None:
        """Count something that just ended."""
        place = Place(key, model, grants.now().date())
        self._unwritten[place] = self._unwritten.get(place, Counts()) + counts

    async def read(self, query: Query) -> Mapping[Place, Counts]:
        """The counts that are wanted, those of a moment ago too. Raises `ServerError`."""
        async with self._writing:  # or what is being written would be in neither
            await self._write()
            kept = await asyncio.to_thread(self._file.read, query) if self._file else {}
            found = dict(kept)
            for place, counts in self._unwritten.items():
                if query.wants(place):
                    found[place] = found.get(place, Counts()) + counts
            return found

    async def run(self) -> None:
        """Write and forget until cancelled; then what is left is up to `write`."""
        while True:
            await self.write()
            await self._prune()
            await asyncio.sleep(WRITE_EVERY_S)

    async def write(self) -> None:
        """Bring what was counted to the file. What cannot be written is kept and logged."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        if self._file is None or not self._unwritten:
            return
        batch, self._unwritten = self._unwritten, {}
        try:
            await asyncio.to_thread(self._file.add, batch)
        except ServerError as error:
            self._take_back(batch)
            self._tell(error)
        else:
            self._is_failing = False

    def _take_back(self, batch: Mapping[Place, Counts]) -> None:
        for place, counts in batch.items():
            self._unwritten[place] = counts + self._unwritten.get(place, Counts())

    def _tell(self, error: ServerError) -> None:
        if not self._is_failing:
            _log.error("usage cannot be written and is kept in memory: %s", error.message)
        self._is_failing = True

    async def _prune(self) -> None:
        """Once a day."""
        today = grants.now().date()
        if today == self._pruned:
            return
        self._pruned, oldest = today, today - self._keep
        for place in [place for place in self._unwritten if place.day < oldest]:
            del self._unwritten[place]
        if self._file is not None:
            with suppress(ServerError):  # tomorrow, then
                await asyncio.to_thread(self._file.forget, oldest)


def rows(counts: Mapping[Place, Counts]) -> list[UsageRow]:
    """The counts one by one, as they are shown."""
    return [
        UsageRow(
            key=place.key,
            model=place.model,
            day=place.day,
            requests=each.requests,
            failed=each.failed,
            prompt_tokens=each.prompt_tokens,
            output_tokens=each.output_tokens,
            seconds=round(each.seconds, 3),
        )
        for place, each in counts.items()
    ]


def _decoded(row: Sequence[object]) -> tuple[Place, Counts]:
    key, model, day, *counts = row
    place = msgspec.convert([key, model, day], tuple[str, str, date])
    values = dict(zip(Counts.__struct_fields__, counts, strict=True))
    return Place(*place), msgspec.convert(values, Counts)
