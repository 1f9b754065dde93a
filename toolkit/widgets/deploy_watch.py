"""Watching one endpoint: how it is, what it has cost, its log, its events, and its limits.

Limits that hold only while somebody watches hold while this does: what is past one is ended,
and the reason is said. Nothing here asks a person.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing

from toolkit.deploy.base import Record, Spend, Status
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Event
from toolkit.deploy.watching import end_if_over
from toolkit.errors import ToolkitError, UsageError
from toolkit.widgets.task import BackgroundTask

LOOK_S = {"local": 3.0, "compose": 5.0}
RENTED_LOOK_S = 15.0
PAINT_S = 1.0
LINES = 300
AGAIN_S = (1.0, 30.0)


logger = logging.getLogger(__name__)


class Watch:
    """Watches the endpoint called `name` between `start` and `stop`.

    `paint` is called about once a second; `ended` with a sentence when it is past a limit and was
    closed, or is no longer in the ledger; `failed` when it could not be closed. That is tried
    again at the next look.
    """

    def __init__(
        self,
        keeper: Keeper,
        paint: Callable[[], None],
        ended: Callable[[str], None],
        failed: Callable[[ToolkitError], None],
    ) -> None:
        self._keeper = keeper
        self._paint = paint
        self._ended = ended
        self._failed = failed
        self._looks = BackgroundTask(lambda error: self._note(error.message))
        self._log = BackgroundTask(lambda error: self._note(error.message))
        self._is_followed = False
        self._service = ""
        self._read: tuple[str, str] | None = None
        self._due = 0.0
        self.name = ""
        self.lines: deque[str] = deque(maxlen=LINES)
        self.log_note = ""
        self.status: Status | None = None

    def start(self, name: str) -> None:
        """Watch this one from now on; what was seen of it before is out of date. Does not block."""
        self._due, self.status = 0.0, None
        if self._looks.is_running and name == self.name:
            return
        self.stop()
        self.name, self.log_note = name, ""
        self.lines.clear()
        self._looks = BackgroundTask(lambda error: self._note(error.message))
        self._looks.start(self._look_on)
        self.follow(self._is_followed, self._service)

    def follow(self, is_followed: bool, service: str = "") -> None:
        """Whether its log is read, and of which service (of all, if none is named): a provider is
        only asked for what somebody looks at."""
        asked = (self.name, service) if is_followed and self.name else None
        self._is_followed, self._service = is_followed, service
        if asked == self._read:
            return
        self._read = asked
        self._log.cancel()
        if asked is not None:
            self.lines, self.log_note = deque(maxlen=LINES), ""
            before, self._log = self._log, BackgroundTask(lambda error: self._note(error.message))
            self._log.start(lambda: self._follow(before))

    def stop(self) -> None:
        """Watch no longer; what was seen stays. Does not block."""
        self._looks.cancel()
        self._log.cancel()
        self._read = None

    async def stopped(self) -> None:
        """Stop, and wait until nothing of it is under way."""
        self.stop()
        for task in (self._looks, self._log):
            await task.wait()

    @property
    def record(self) -> Record | None:
        """The open row of it."""
        return self._keeper.ledger.find(self.name) if self.name else None

    def spend(self) -> Spend | None:
        """What it has cost, by the books and the clock."""
        record = self._keeper.ledger.latest(self.name) if self.name else None
        return None if record is None else self._keeper.spend(record)

    def services(self) -> Sequence[str]:
        """Those whose log can be read by itself."""
        record = self.record
        return () if record is None else self._keeper.services(record)

    def events(self) -> list[Event]:
        """What the ledger has of it, oldest first."""
        record = self._keeper.ledger.latest(self.name) if self.name else None
        return [] if record is None else self._keeper.ledger.events(record.uid)

    async def look(self) -> None:
        """How it is now; ends it where it is past a limit of its own."""
        record = self.record
        if record is None:
            return
        self.status = await self._keeper.target(record.target).status(record)
        try:
            why = await end_if_over(self._keeper, record, self.status)
        except ToolkitError as error:
            self._failed(ToolkitError(f"{record.name}: {error.message}", hint=error.hint))
            return
        if why:
            self._ended(f"{record.name} is closed: {why}.")

    async def _look_on(self) -> None:
        is_there = True
        while is_there:
            try:
                is_there = await self._looked()
                self._paint()
            except ToolkitError as error:
                self._note(error.message)
            except Exception as error:  # a look that fails must not be the last
                logger.exception("an endpoint could not be looked at")
                self._note(f"it could not be looked at: {error}")
            await asyncio.sleep(PAINT_S if is_there else 0)

    async def _looked(self) -> bool:
        """Whether it is still in the ledger; a look at it where one is due."""
        record = self.record
        if record is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_S.get(record.target, RENTED_LOOK_S)
            await self.look()
        return record is not None

    async def _follow(self, before: BackgroundTask) -> None:
        """Its log, again when it ends or cannot be read: another process may write another. Whoever
        read `before` has ended first."""
        await before.wait()
        pause_s, most_s = AGAIN_S
        kept, service = self.lines, self._service or None
        while self.record is not None:
            try:
                lines = self._keeper.logs(self.name, follow=True, tail=100, service=service)
                async with aclosing(lines) as told:  # type: ignore[type-var]
                    kept.clear()
                    async for line in told:
                        kept.append(line)
                        self.log_note, pause_s = "", AGAIN_S[0]
            except UsageError as error:  # nothing has a log yet
                self._note(error.message)
            except ToolkitError as error:
                self._note(error.message)
                pause_s = min(most_s, 2 * pause_s)
            await asyncio.sleep(pause_s)

    def _note(self, message: str) -> None:
        self.log_note = message
