"""Composition root: puts store, engine, core, dialects and edge together. No logic.

Another dialect is its own modules and one line in `DIALECTS`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

from litestar import Litestar
from litestar.types import ASGIApp

from server.api import anthropic, docs, health, ollama, responses
from server.api.core import Core
from server.api.dialect import Dialect
from server.api.failures import exception_handlers
from server.auth import require_scope
from server.edge import Edge
from server.engine.supervisor import Supervisor
from server.metrics import Metrics
from server.models.store import Store
from server.models.wheel import ensure_embedded
from server.origins import Origins
from server.preload import Preloader, Readiness
from server.settings import Settings

DIALECTS: tuple[Dialect, ...] = (ollama.DIALECT, anthropic.DIALECT, responses.DIALECT)


def create_app(
    settings: Settings,
    store: Store,
    supervisor: Supervisor,
    *,
    is_empty: bool = False,
    on_prepared: Callable[[Readiness], None] = lambda _: None,
) -> ASGIApp:
    """The ASGI app of a server. Its lifespan prepares models beside it and ends the engine.

    `is_empty`: the store has no models and gets the embedded one. `on_prepared` is told
    how the preparation went.
    """
    core = Core(store, supervisor)
    preloader = Preloader(
        core,
        settings.preload,
        stock=partial(ensure_embedded, store) if is_empty else None,
        keep_alive_s=settings.preload_keep_alive,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async def prepare() -> None:
            on_prepared(await preloader.prepare())

        preparing = asyncio.create_task(prepare())
        try:
            yield
        finally:
            preparing.cancel()
            with suppress(asyncio.CancelledError):
                await preparing
            await supervisor.close()

    routes = [handler for dialect in DIALECTS for handler in dialect.handlers(core)]
    routes += health.handlers(preloader, Metrics(core))
    app = Litestar(
        route_handlers=[*routes, *docs.handlers(routes, DIALECTS, version("akash-llm"))],
        guards=[require_scope],
        exception_handlers=exception_handlers(DIALECTS),
        lifespan=[lifespan],
        request_max_body_size=settings.max_body_bytes,
        openapi_config=None,
        logging_config=None,
    )
    origins = Origins(settings.origins, is_loopback=settings.is_loopback)
    return Edge(app, keys=settings.keys, origins=origins, dialects=DIALECTS)
