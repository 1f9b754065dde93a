"""Live: the process answers. Ready: every preloaded model has answered once and still can,
and the server is not about to end. Metrics: for Prometheus."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import gojson
from server.api.core import Core
from server.api.described import TEXT_TYPE, Described, route_opt
from server.api.stream import reply
from server.auth import caller_of, sees_all_models
from server.drain import Drain
from server.keys import Scope
from server.metrics import MEDIA_TYPE, Metrics
from server.preload import Preloader, Readiness

DRAINING = "draining"


class Live(msgspec.Struct):
    """The reply of /health/live."""

    status: str = "live"


def handlers(
    core: Core, preloader: Preloader, metrics: Metrics, drain: Drain
) -> Sequence[HTTPRouteHandler]:
    """The routes; the first two are open without a key."""

    @get("/health/live", opt=route_opt(None, Described("The process answers", reply=Live)))
    async def live() -> ASGIApp:
        return reply(gojson.encode(Live()))

    @get(
        "/health/ready",
        opt=route_opt(
            None,
            Described(
                "Every preloaded model has answered and can",
                reply=Readiness,
                statuses={503: "not yet, or not any more"},
            ),
        ),
    )
    async def ready(request: Request[Any, Any, Any]) -> ASGIApp:
        readiness = Readiness(DRAINING) if drain.is_on else preloader.readiness()
        if not sees_all_models(request.scope):
            readiness = readiness.in_short()
        return reply(gojson.encode(readiness), status=200 if readiness.is_ready else 503)

    @get(
        "/metrics",
        opt=route_opt(
            Scope.READ,
            Described("For Prometheus", reply=str, reply_type=TEXT_TYPE),
            all_models=True,
        ),
    )
    async def prometheus(request: Request[Any, Any, Any]) -> ASGIApp:
        caller = caller_of(request.scope)
        only_key = None if caller.scope.allows(Scope.ADMIN) else caller.name
        with_totals = caller.scope is not Scope.INFERENCE
        text = metrics.text(only_key, with_totals=with_totals)
        if with_totals:
            text += await core.engine_metrics()
        return reply(text, media_type=MEDIA_TYPE)

    return [live, ready, prometheus]
