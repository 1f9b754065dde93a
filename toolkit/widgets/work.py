"""What a panel does, one thing at a time; by a click, or from code that waits for its end."""

import asyncio
from collections.abc import Awaitable, Callable

from toolkit.errors import ToolkitError, UsageError
from toolkit.widgets.task import BackgroundTask


class Work:
    """At most one piece of work. `busy` is called when it begins and when it ends, `stopped` when
    it was cancelled and says nothing of that itself, `failed` with the error that ended it.

    It is under way from `start` on, not from the first step of its task: a click in between
    would be lost. All methods are called on the loop of the panel.
    """

    def __init__(
        self,
        *,
        busy: Callable[[bool], None],
        stopped: Callable[[], None],
        failed: Callable[[ToolkitError], None],
    ) -> None:
        self._busy = busy
        self._stopped = stopped
        self._failed = failed
        self._task = BackgroundTask(self._ended_by)
        self._error: ToolkitError | None = None
        self.is_busy = False

    def start(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Begin, unless something is under way; whether it was begun. Does not block."""
        if self._task.is_running:
            return False
        self._error = None
        self._show(True)
        self._task.start(lambda: self._done(work))
        return True

    def cancel(self) -> None:
        """Ask it to end now; does not block."""
        self._task.cancel()

    async def finished(self) -> None:
        """Until nothing is under way; raises what ended it. Cancelled, it cancels the work and
        waits for what that cleans up."""
        try:
            await self._task.wait()
        except asyncio.CancelledError:
            await self._task.wait()
            raise
        if self._error is not None:
            raise self._error

    def check_idle(self) -> None:
        """`UsageError` while something is under way."""
        if self._task.is_running:
            raise UsageError("Something is under way.", hint="Stop it, or wait for its end.")

    async def _done(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            self._stopped()
            raise
        finally:
            self._show(False)

    def _show(self, is_busy: bool) -> None:
        self.is_busy = is_busy
        self._busy(is_busy)

    def _ended_by(self, error: ToolkitError) -> None:
        self._error = error
        self._failed(error)
