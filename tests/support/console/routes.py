"""Method and path to what the world does, and back to status and JSON.

Each route names the types of the client for its body and answer; both are held against
them, so that the client, the stand-in and (by `document`) the published document agree.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tests.support.console import handlers
from toolkit.deploy.console.account import (
    AccessToken,
    Activity,
    FundingConfig,
    SecretsContext,
    SpendRate,
    User,
)
from toolkit.deploy.console.amounts import Balances
from toolkit.deploy.console.bids import BidEntry, Choice
from toolkit.deploy.console.decoding import Data
from toolkit.deploy.console.deployments import Created, Deployment, DeploymentPage, Settings
from toolkit.deploy.console.market import (
    GpuPrices,
    PlacementOptions,
    Provider,
    Screened,
    Screening,
)
from toolkit.deploy.console.updates import NewDeployment, Patch


class Leasing(msgspec.Struct, omit_defaults=True):
    leases: list[Choice]
    manifest: str | msgspec.UnsetType = msgspec.UNSET


class Deposit(msgspec.Struct):
    dseq: str
    deposit: float


class SDLText(msgspec.Struct):
    sdl: str


class Limit(msgspec.Struct, rename="camel"):
    runtime_limit_hours: int | None


class TopUp(msgspec.Struct, rename="camel", omit_defaults=True):
    dseq: str
    auto_top_up_enabled: bool | None = None


class TokenClaims(msgspec.Struct):
    ttl: int
    leases: dict[str, Any]


class Route(NamedTuple):
    """`body` and `answer` are types of the client; `is_newer` says that only the newer has it."""

    method: str
    path: str
    do: Callable[[handlers.Asked], Any]
    answer: Any
    body: Any = None
    status: int = 200
    is_public: bool = False
    is_newer: bool = False


ROUTES = (
    Route("GET", "/v1/user/me", handlers.user, Data[User]),
    Route("GET", "/v1/balances", handlers.balances, Data[Balances]),
    Route(
        "GET",
        "/v1/deployment-funding-config",
        handlers.funding,
        Data[FundingConfig],
        is_public=True,
        is_newer=True,
    ),
    Route("GET", "/v1/spend-rate", handlers.spend_rate, Data[SpendRate], is_newer=True),
    Route("POST", "/v1/deployments", handlers.create, Data[Created], Data[NewDeployment], 201),
    Route("GET", "/v1/deployments", handlers.list_all, Data[DeploymentPage]),
    Route("GET", "/v1/deployments/{}", handlers.one, Data[Deployment]),
    Route(
        "PATCH", "/v1/deployments/{}", handlers.patch, Data[Deployment], Data[Patch], is_newer=True
    ),
    Route("PUT", "/v1/deployments/{}", handlers.put, Data[Deployment], Data[SDLText]),
    Route("DELETE", "/v1/deployments/{}", handlers.close, Data[dict[str, Any]]),
    Route(
        "GET",
        "/v1/activities/{}",
        handlers.activity,
        Data[Activity],
        is_newer=True,
    ),
    Route("GET", "/v1/bids", handlers.bids, Data[tuple[BidEntry, ...]]),
    Route("POST", "/v1/leases", handlers.lease, Data[Deployment], Leasing),
    Route("POST", "/v1/deposit-deployment", handlers.deposit, Data[Deployment], Data[Deposit]),
    Route("GET", "/v2/deployment-settings/{}", handlers.settings, Data[Settings]),
    Route(
        "PATCH",
        "/v2/deployment-settings/{}",
        handlers.limit,
        Data[Settings],
        Data[Limit],
        is_newer=True,
    ),
    Route("POST", "/v2/deployment-settings", handlers.top_up, Data[Settings], Data[TopUp], 201),
    Route(
        "POST",
        "/v1/create-jwt-token",
        handlers.token,
        Data[AccessToken],
        Data[TokenClaims],
        201,
    ),
    Route("GET", "/v1/sdl-secrets-context", handlers.secrets, Data[SecretsContext], is_newer=True),
    Route("GET", "/v1/providers", handlers.providers, tuple[Provider, ...], is_public=True),
    Route("GET", "/v1/providers/{}", handlers.provider, Provider, is_public=True),
    Route("GET", "/v1/gpu-prices", handlers.gpu_prices, GpuPrices, is_public=True),
    Route(
        "GET",
        "/v1/placement-options",
        handlers.placement_options,
        PlacementOptions,
        is_public=True,
        is_newer=True,
    ),
    Route(
        "POST",
        "/v1/bid-screening",
        handlers.screened,
        Screened,
        Screening,
        is_public=True,
    ),
)


def matching(method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
    """The route for a request, and the variable parts of its path."""
    for route in ROUTES:
        pattern = re.escape(route.path).replace(re.escape("{}"), "([^/]+)")
        if route.method == method and (match := re.fullmatch(pattern, path)):
            return route, match.groups()
    return None


def check_body(route: Route, body: Any) -> None:
    """Raises `AssertionError` for a body that is not of the client's type, all of it."""
    if route.body is None:
        assert body is None, f"{route.method} {route.path} takes no body"
        return
    try:
        read = msgspec.convert(body, route.body)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{route.method} {route.path}: {error}") from None
    written = msgspec.json.decode(msgspec.json.encode(read))
    assert written == body, f"{route.method} {route.path}: unknown fields"
