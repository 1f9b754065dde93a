"""`python -m server`: flags → settings → socket → engine → HTTP.

The runner of a preloaded model is started before the web framework is imported:
both take a while, and so they take it at the same time.
"""

import asyncio
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from server import logs
from server.accounts import Accounts, open_accounts
from server.body_memory import BodyMemory
from server.drain import Drain
from server.engines import open_engine
from server.settings import Settings, SettingsError, load
from server.traffic import Traffic

if TYPE_CHECKING:
    from server.api.engines import Engine

_log = logging.getLogger("akash_llm.server")
_BACKLOG = 2048
# What the kernel takes for a client that does not read; accepted sockets inherit it.
_SEND_BUFFER_BYTES = 256 * 1024
# Files besides the connections: the store, runners, the log.
_SPARE_FILES = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop; returns the exit code."""
    try:
        settings = load(sys.argv[1:] if argv is None else argv, os.environ)
        serve(settings, open_engine)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def serve(settings: Settings, open_it: Callable[[Settings], "Engine"]) -> None:
    """Listen and answer until SIGINT or SIGTERM. Raises `SettingsError` before that."""
    import uvloop

    logs.configure()
    accounts = open_accounts(settings)
    listener = _listen(settings)
    with listener:
        uvloop.run(_serve(settings, open_it(settings), accounts, listener))


def _listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises `SettingsError` if the address cannot be had."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            "Stop what uses it, or choose another --port"
        ) from None
    listener.setblocking(False)
    return listener


def _fitting(max_connections: int) -> int:
    """As many of these connections as this process may have; raises its limit of open files
    to what they need."""
    wanted = max_connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max_connections
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return max_connections
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(1, hard - _SPARE_FILES)
    _log.warning("only %d connections fit into %d open files (ulimit -n)", most, hard)
    return most


async def _serve(
    settings: Settings, engine: "Engine", accounts: Accounts, listener: socket.socket
) -> None:
    engine.begin()
    traffic = Traffic(BodyMemory(settings.body_memory))
    drain = Drain(traffic, settings.drain)
    app = await asyncio.to_thread(_make_app, settings, engine, accounts, drain)
    server = _make_server(settings, app, drain)
    ending = asyncio.create_task(_end(server, drain, engine))
    await server.serve(sockets=[listener])
    ending.cancel()
    await engine.close()


async def _end(server: Any, drain: Drain, engine: "Engine") -> None:
    """Once the server was told to go and has waited for its replies, end the rest of them in
    their dialect, and the server."""
    await drain.over()
    await engine.close()
    server.should_exit = True


def _make_app(settings: Settings, engine: "Engine", accounts: Accounts, drain: Drain) -> Any:
    """Import the web framework, which takes a while, and put the app together."""
    from server.app import create_app
    from server.preload import Readiness

    def announce(readiness: Readiness) -> None:
        if readiness.is_ready:
            print(f"akash-llm server is ready at {settings.url}", flush=True)

    return create_app(settings, engine, accounts, drain, on_prepared=announce)


def _make_server(settings: Settings, app: Any, drain: Drain) -> Any:
    from server.connection import Bounds
    from server.http_server import HTTPServer

    bounds = Bounds(
        header_s=settings.header_timeout,
        idle_s=settings.idle_timeout,
        write_s=settings.write_timeout,
        max_connections=_fitting(settings.max_connections),
    )
    return HTTPServer(app, bounds, drain)


if __name__ == "__main__":
    sys.exit(main())
