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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from server import logs
from server.accounts import Accounts, open_accounts
from server.body_memory import BodyMemory
from server.drain import Drain
from server.engine import memory
from server.engine.budget import Budget
from server.engine.config import EngineConfig
from server.engine.requantizer import Requantizer
from server.engine.supervisor import Supervisor
from server.errors import ServerError
from server.models.model_files import ModelFiles
from server.models.name import ModelName
from server.models.pull import Puller
from server.models.store import Store
from server.models.wheel import EMBEDDED
from server.settings import Settings, SettingsError, load
from server.traffic import Traffic

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
        serve(settings, engine_config(settings))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def engine_config(settings: Settings) -> EngineConfig:
    """What the settings say to the engine."""
    return EngineConfig(
        context=settings.context,
        parallel=settings.parallel,
        pool=settings.pool,
        parking_bytes=settings.parking,
        share_prefixes=settings.share_prefixes,
        speculate=settings.speculate,
        threads=settings.threads,
        batch_threads=settings.batch_threads,
        batch=settings.batch,
        micro_batch=settings.micro_batch,
        queue=settings.max_queue,
        placement=settings.placement,
        attention=settings.attention,
    )


def memory_budget(settings: Settings) -> Budget:
    """What models may take together, as the settings say it."""
    memory_bytes = settings.memory or memory.default_budget()
    return Budget(memory_bytes=memory_bytes, max_loaded=settings.max_loaded)


def serve(settings: Settings, config: EngineConfig) -> None:
    """Listen and answer until SIGINT or SIGTERM. Raises `SettingsError` before that."""
    import uvloop

    logs.configure()
    accounts = open_accounts(settings)
    listener = _listen(settings)
    with listener:
        store = Store(settings.models)
        is_empty = _check_models(settings, store)
        uvloop.run(_serve(settings, config, store, accounts, listener, is_empty))


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


def _check_models(settings: Settings, store: Store) -> bool:
    """Whether the store is to get the embedded model. Raises `SettingsError` for a preload that
    is not in it and does not come."""
    if settings.models.exists() and not settings.models.is_dir():
        raise SettingsError(f"--models must be a folder, and {settings.models} is a file")
    try:
        is_empty = not store.list()
        if settings.pull and settings.preload:
            puller = Puller(store, settings.registries)
            for name in settings.preload:
                puller.check(name)
            return False
        for name in settings.preload:
            is_coming = is_empty and ModelName.parse(name).same_as(ModelName.parse(EMBEDDED))
            if not is_coming:
                store.get(name).check()
    except ServerError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise SettingsError(f"cannot preload: {error.message}{hint}") from None
    except OSError as error:
        raise SettingsError(f"cannot read the model store {settings.models}: {error}") from None
    return is_empty


async def _serve(
    settings: Settings,
    config: EngineConfig,
    store: Store,
    accounts: Accounts,
    listener: socket.socket,
    is_empty: bool,
) -> None:
    requantizer = _requantizer(settings, store)
    supervisor = Supervisor(
        config,
        keep_alive_s=settings.keep_alive,
        requantizer=requantizer,
        budget=memory_budget(settings),
        needed=partial(memory.needed, read=store.header, requantizer=requantizer),
    )
    for files in _there_already(settings, store):
        supervisor.start_loading(files, keep_alive_s=settings.preload_keep_alive)
    traffic = Traffic(BodyMemory(settings.body_memory))
    drain = Drain(traffic, settings.drain)
    app = await asyncio.to_thread(_make_app, settings, store, supervisor, accounts, drain, is_empty)
    server = _make_server(settings, app, drain)
    ending = asyncio.create_task(_end(server, drain, supervisor))
    await server.serve(sockets=[listener])
    ending.cancel()
    await supervisor.close()


def _there_already(settings: Settings, store: Store) -> Iterator[ModelFiles]:
    """What is to be preloaded; what has to come first is left to `server.preload`."""
    for name in settings.preload:
        with suppress(ServerError):
            yield store.get(name).files()


def _requantizer(settings: Settings, store: Store) -> Requantizer | None:
    if settings.requantize == "off":
        return None
    return Requantizer(store.requantized, settings.requantize, threads=settings.threads)


async def _end(server: Any, drain: Drain, supervisor: Supervisor) -> None:
    """Once the server was told to go and has waited for its replies, end the rest of them in
    their dialect, and the server."""
    await drain.over()
    await supervisor.close()
    server.should_exit = True


def _make_app(
    settings: Settings,
    store: Store,
    supervisor: Supervisor,
    accounts: Accounts,
    drain: Drain,
    is_empty: bool,
) -> Any:
    """Import the web framework, which takes a while, and put the app together."""
    from server.app import create_app
    from server.preload import Readiness

    def announce(readiness: Readiness) -> None:
        if readiness.is_ready:
            print(f"akash-llm server is ready at {settings.url}", flush=True)

    return create_app(
        settings, store, supervisor, accounts, drain, is_empty=is_empty, on_prepared=announce
    )


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
