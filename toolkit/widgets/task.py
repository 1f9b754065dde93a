"""One asyncio task behind a button, and a ticker that paints at most ten times a second.

A synchronous cell blocks every widget of its kernel, so whatever takes time runs as
a task. A front end may deliver clicks in another thread than the one whose loop the
panel was made on; the task always runs on that loop, where the connections live.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from toolkit.errors import ToolkitError

TICK_S = 0.1
PAINT_REST = 4.0  # at most a fifth of the time is spent painting

logger = logging.getLogger(__name__)


class HomeLoop:
    """The event loop that a panel was made on; everything it does is done there."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = _running_loop()

    def do(self, action: Callable[[], None]) -> None:
        """Run `action` on the loop: at once when called there, else soon."""
        running = _running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = running
        if self._loop is None:
            raise RuntimeError("a panel works where an event loop runs, as in a notebook")
        if self._loop is running:
            action()
        else:
            self._loop.call_soon_threadsafe(action)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` on the loop after `delay_s`."""

        def schedule() -> None:
            asyncio.get_running_loop().call_later(delay_s, action)

        self.do(schedule)


class BackgroundTask:
    """At most one task at a time. `failed` gets what ended it; cancelling is no failure.

    All methods are called on the loop of the panel.
    """

    def __init__(self, failed: Callable[[ToolkitError], None]) -> None:
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def is_running(self) -> bool:
        """Whether a task is under way."""
        return self._task is not None and not self._task.done()

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin `work`, unless a task runs; does not block."""
        if not self.is_running:
            self._is_ending = False
            self._task = asyncio.get_running_loop().create_task(self._guarded(work))

    def cancel(self) -> None:
        """Ask the task to end now; does not block. Once: asked again, it would leave undone what
        it ends with."""
        if self._task is not None and not self._is_ending:
            self._is_ending = True
            # Not before its first step, or its own cleanup would never run.
            asyncio.get_running_loop().call_soon(self._task.cancel)

    async def wait(self) -> None:
        """Until no task runs; cancelling the wait cancels the task."""
        if self._task is not None:
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                self.cancel()
                raise

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            pass
        except ToolkitError as error:
            self._failed(error)
        except Exception as error:  # the outer edge: nobody else would ever see it
            logger.exception("a panel's task failed")
            self._failed(
                ToolkitError(
                    f"This panel failed: {type(error).__name__}: {error}",
                    hint="The traceback is in the log of the notebook's kernel.",
                )
            )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@asynccontextmanager
async def ticking(paint: Callable[[], None], every_s: float = TICK_S) -> AsyncIterator[None]:
    """Call `paint` every `every_s` inside the block, and once more at its end.

    Painting that takes long is done less often, so that it never takes the loop over.
    """

    def painted() -> None:
        try:
            paint()
        except Exception:  # what is shown decides nothing about what is done
            logger.exception("a panel could not be painted")

    async def tick() -> None:
        pause_s = every_s
        while True:
            await asyncio.sleep(pause_s)
            begin = time.perf_counter()
            painted()
            pause_s = max(every_s, PAINT_REST * (time.perf_counter() - begin))

    ticker = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticker.cancel()
        with suppress(asyncio.CancelledError):
            await ticker
        painted()
