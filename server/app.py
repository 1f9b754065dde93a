"""Composition root: puts engine, core, dialects and edge together. No logic.

Another dialect is its own modules and one line in `DIALECTS`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.accounts import Accounts
from server.admission import Gate
from server.api import admin, anthropic, docs, health, ollama, ollama_models, openai
from server.api.core import Core
from server.api.dialect import Dialect
from server.api.engines import Engine
from server.api.failures import exception_handlers
from server.api.observe import ObservedCore
from server.auth import refuse_management, require_scope
from server.chat.renderer import Renderer
from server.drain import Drain
from server.edge import Edge
from server.metrics import Metrics
from server.models.library import Library
from server.preload import Preloader, Readiness
from server.settings import Settings

DIALECTS: tuple[Dialect, ...] = (ollama.DIALECT, openai.DIALECT, anthropic.DIALECT)


def create_app(
    settings: Settings,
    engine: Engine,
    accounts: Accounts,
    drain: Drain,
    *,
    on_prepared: Callable[[Readiness], None] = lambda _: None,
) -> ASGIApp:
    """The ASGI app of a server. Its lifespan prepares models beside it and ends the engine.

    `drain` is told about every request and says when no more are taken. `on_prepared` is told
    how the preparation went.
    """
    renderer = Renderer()
    core = ObservedCore(engine, renderer, Gate(accounts.usage), drain.traffic)
    preloader = Preloader(
        core,
        settings.preload,
        stock=engine.stock,
        puller=engine.puller,
        keep_alive_s=settings.preload_keep_alive,
        may_recover=engine.may_recover,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async def prepare() -> None:
            on_prepared(await preloader.prepare())

        works = [prepare(), renderer.open(), accounts.usage.run(), engine.work()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await engine.close()
            await renderer.close()
            await accounts.usage.write()
            accounts.keys.close()

    app = Litestar(
        route_handlers=route_handlers(core, engine.library, preloader, accounts, drain),
        guards=[require_scope] if settings.management else [require_scope, refuse_management],
        exception_handlers=exception_handlers(DIALECTS),
        lifespan=[lifespan],
        request_max_body_size=settings.max_body_bytes,
        openapi_config=None,
        logging_config=None,
    )
    return Edge(app, settings, accounts.keys, drain, DIALECTS)


def route_handlers(
    core: Core, library: Library, preloader: Preloader, accounts: Accounts, drain: Drain
) -> Sequence[HTTPRouteHandler]:
    """Every route of a server."""
    routes = [handler for dialect in DIALECTS for handler in dialect.handlers(core)]
    routes += ollama_models.handlers(core, library, drain)
    routes += health.handlers(core, preloader, Metrics(core, drain.traffic), drain)
    routes += admin.handlers(accounts)
    return [*routes, *docs.handlers(routes, DIALECTS, version("akash-llm"))]
