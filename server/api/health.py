"""Live: the process answers. Ready: every preloaded model has answered once and still can.
Metrics: for Prometheus."""

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import gojson
from server.api.stream import reply
from server.keys import Scope
from server.metrics import MEDIA_TYPE, Metrics
from server.preload import Preloader


def handlers(preloader: Preloader, metrics: Metrics) -> Sequence[HTTPRouteHandler]:
    """The routes; the first two are open without a key."""

    @get("/health/live")
    async def live() -> ASGIApp:
        return reply(gojson.encode({"status": "live"}))

    @get("/health/ready")
    async def ready() -> ASGIApp:
        readiness = preloader.readiness()
        return reply(gojson.encode(readiness), status=200 if readiness.is_ready else 503)

    @get("/metrics", opt={"scope": Scope.READ, "all_models": True})
    async def prometheus() -> ASGIApp:
        return reply(metrics.text(), media_type=MEDIA_TYPE)

    return [live, ready, prometheus]
