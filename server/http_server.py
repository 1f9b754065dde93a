"""uvicorn as this server uses it: with `Connection` for its connections and `Drain` for its
signals."""

import asyncio
import signal
import socket
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from server.connection import Bounds, Connection
from server.drain import Drain

# After the replies were ended in their dialect, connections have this long to take it.
_GOODBYE_S = 3


class HTTPServer(uvicorn.Server):
    """Answers until it is told to stop; make it inside of the loop that runs it.

    The first SIGTERM or SIGINT begins `drain` and nothing else: who made the server waits
    for it and sets `should_exit`. Until then new connections are taken, to be told so.
    The second ends all of it at once.
    """

    def __init__(self, app: Any, bounds: Bounds, drain: Drain) -> None:
        connection: Any = partial(Connection, bounds=bounds, traffic=drain.traffic)
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=bounds.idle_s,  # type: ignore[arg-type]
                timeout_graceful_shutdown=_GOODBYE_S,
            )
        )
        self._drain = drain
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs between two bytecodes of the main thread, so it only leaves word."""
        if sig == signal.SIGINT:
            self._captured_signals.append(sig)  # the process ends as an interrupted one
        self._loop.call_soon_threadsafe(self._told)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Told twice, uvicorn would leave the app as it is: with usage that is not written."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    def _told(self) -> None:
        if not self._drain.is_on:
            self._drain.begin()
            return
        self._drain.cut_short()
        self.should_exit = self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()
