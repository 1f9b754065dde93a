"""Every route of the app against every scope: no route is open that does not say so, and a
key without admin scope neither changes nor sees what is not its own.

The table is made from the routes themselves, so a new one is in it without being written
down; one without a scope fails.
"""

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from litestar.handlers import HTTPRouteHandler

from server.accounts import Accounts
from server.admission import Gate
from server.api.core import Core
from server.app import route_handlers
from server.auth import OPEN_PATHS
from server.body_memory import BodyMemory
from server.chat.renderer import Renderer
from server.drain import Drain
from server.engine.config import EngineConfig
from server.engine.quantizer import Quantizer
from server.engine.supervisor import Supervisor
from server.keychain import Keychain
from server.keys import Scope, digest
from server.local import LocalEngine
from server.models.library import StoreLibrary
from server.models.sources import Registries
from server.models.store import Store
from server.preload import Preloader
from server.traffic import Traffic
from server.usage import Usage
from tests.support.serving import Serving, write_gguf

OWN, HIDDEN = "m", "hidden-canary"
MANAGED = ("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs")
READS = ("GET", "HEAD")


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    handler: HTTPRouteHandler

    @property
    def scope(self) -> Scope:
        found: Scope = self.handler.opt.get("scope", Scope.ADMIN)
        return found

    @property
    def address(self) -> str:
        return self.path.replace("{name:str}", "bystander-canary")


def routes() -> list[Route]:
    """All of them, from an app that is never started."""
    supervisor = Supervisor(EngineConfig(backend="fake"))
    accounts = Accounts(Keychain((), None, may_open=True), None, Usage())
    store = Store(Path("unused"))
    library = StoreLibrary(store, Registries.parse(), Quantizer())
    core = Core(LocalEngine(store, supervisor, library), Renderer(), Gate(accounts.usage))
    drain = Drain(Traffic(BodyMemory(1 << 20)), 1.0)
    preloader = Preloader(core, [], stock=None, puller=None, keep_alive_s=0)
    drain = Drain(Traffic(BodyMemory(1)), limit_s=0)
    return sorted(
        Route(str(method), path, handler)
        for handler in route_handlers(core, library, preloader, accounts, drain)
        for path in sorted(handler.paths)
        for method in handler.http_methods
        if str(method) != "OPTIONS"
    )


ROUTES = routes()
IDS = [f"{route.method} {route.path}" for route in ROUTES]
every_route = pytest.mark.parametrize("route", ROUTES, ids=IDS)


@every_route
def test_every_route_says_who_may_use_it(route: Route) -> None:
    if route.path not in OPEN_PATHS:
        assert isinstance(route.handler.opt.get("scope"), Scope), "opt={'scope': …} is missing"


@every_route
def test_what_changes_models_or_keys_can_be_switched_off(route: Route) -> None:
    if route.path.startswith(("/admin/", *MANAGED)):
        assert route.handler.opt.get("management"), "opt={'management': True} is missing"
        assert route.scope is Scope.ADMIN


def key_of(scope: Scope) -> str:
    return f"ak-{scope}-key"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a key of each scope, those without admin for one of two models only,
    and a bystander whom they must not know of."""
    folder = tmp_path_factory.mktemp("routes")
    store = Store(folder / "models")
    for name in (OWN, HIDDEN):
        store.add_file(name, write_gguf(folder / "m.gguf", fields={"general.name": name}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    only = '{"models": ["m"]}'
    env = {
        "AKASH_LLM_KEYS": ",".join(f"{s}:{s}:{digest(key_of(s))}" for s in Scope),
        "AKASH_LLM_KEY_LIMITS": f'{{"read": {only}, "inference": {only}}}',
        "AKASH_LLM_MODELS": str(folder / "models"),
    }
    with Serving(folder, port, env=env) as server:
        with server.client(headers=headers(Scope.ADMIN)) as admin:
            assert admin.post("/admin/keys", json={"name": "bystander-canary"}).is_success
            used = {"model": HIDDEN, "prompt": "x", "stream": False}
            assert admin.post("/api/generate", json=used).is_success
        yield server


@pytest.fixture
def client(guarded: Serving) -> Iterator[httpx2.Client]:
    with guarded.client() as client:
        yield client


def headers(scope: Scope) -> dict[str, str]:
    return {"authorization": f"Bearer {key_of(scope)}"}


def bodies(route: Route) -> list[dict[str, Any] | None]:
    """Requests that ask for what is hidden in every field that could name it."""
    if route.method in READS:
        return [None]
    hidden = {"model": HIDDEN, "name": HIDDEN, "from": HIDDEN, "source": HIDDEN}
    asks = {"prompt": "x", "input": "x", "messages": [{"role": "user", "content": "x"}]}
    return [{}, {**hidden, **asks, "destination": "stolen", "stream": False}]


def world(client: httpx2.Client) -> tuple[Any, Any]:
    """Keys and models, as an admin sees them."""
    admin = headers(Scope.ADMIN)
    models = client.get("/api/tags", headers=admin).json()["models"]
    return client.get("/admin/keys", headers=admin).json(), models


@every_route
def test_without_a_key_nothing_but_the_open_paths(client: httpx2.Client, route: Route) -> None:
    response = client.request(route.method, route.address)
    if route.path in OPEN_PATHS:
        assert response.status_code == 200
    else:
        assert response.status_code in (401, 429)


@every_route
@pytest.mark.parametrize("scope", [Scope.READ, Scope.INFERENCE])
def test_a_key_without_the_scope_is_refused(
    client: httpx2.Client, route: Route, scope: Scope
) -> None:
    for body in bodies(route):
        response = client.request(route.method, route.address, json=body, headers=headers(scope))
        if route.path not in OPEN_PATHS and not scope.allows(route.scope):
            assert response.status_code == 403
        else:
            assert response.status_code not in (401, 405)


@every_route
@pytest.mark.parametrize("scope", [Scope.READ, Scope.INFERENCE])
def test_a_key_without_admin_scope_sees_and_changes_only_its_own(
    client: httpx2.Client, route: Route, scope: Scope
) -> None:
    before = world(client)
    for body in bodies(route):
        response = client.request(route.method, route.address, json=body, headers=headers(scope))
        asked = HIDDEN if body else ""
        said = response.text.replace(f"'{asked}'", "").replace(f'\\"{asked}\\"', "")
        assert "canary" not in said
        if body and response.is_success:
            assert route.scope is not Scope.ADMIN
    assert world(client) == before


def test_the_table_would_see_it(client: httpx2.Client) -> None:
    """What is hidden is there for an admin, so the tests above can fail."""
    admin = headers(Scope.ADMIN)
    for path in ("/api/tags", "/api/ps", "/metrics", "/admin/keys", "/admin/usage"):
        assert "canary" in client.get(path, headers=admin).text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/pull", {"model": HIDDEN}),
        ("/api/pull", {"model": "hf://someone/else/file.gguf"}),
        ("/api/create", {"model": HIDDEN, "from": OWN}),
        ("/api/create", {"model": OWN, "from": HIDDEN.upper()}),
        ("/api/copy", {"source": HIDDEN, "destination": OWN}),
        ("/api/copy", {"source": OWN, "destination": f"library/{HIDDEN}"}),
    ],
)
def test_an_administrator_of_some_models_keeps_to_them(
    client: httpx2.Client, path: str, body: dict[str, Any]
) -> None:
    name = f"keeper-{secrets.token_hex(4)}"
    wanted = {"name": name, "scope": "admin", "models": [OWN]}
    made = client.post("/admin/keys", json=wanted, headers=headers(Scope.ADMIN)).json()
    before = world(client)
    mine = {"authorization": f"Bearer {made['key']}"}
    refused = client.post(path, json=body, headers=mine)
    assert refused.status_code == 403 and "may not use the name" in refused.json()["error"]
    assert world(client) == before


def test_a_model_in_memory_has_the_name_that_a_key_may_use(client: httpx2.Client) -> None:
    twin, admin = f"twin-{HIDDEN}", headers(Scope.ADMIN)
    assert client.post(
        "/api/copy", json={"source": OWN, "destination": twin}, headers=admin
    ).is_success
    for name, scope in ((OWN, Scope.INFERENCE), (twin, Scope.ADMIN)):
        body = {"model": name, "prompt": "x", "stream": False}
        assert client.post("/api/generate", json=body, headers=headers(scope)).is_success
    (seen,) = client.get("/api/ps", headers=headers(Scope.READ)).json()["models"]
    assert seen["name"] == f"{OWN}:latest"
    assert twin in client.get("/api/ps", headers=admin).text
    assert client.request("DELETE", "/api/delete", json={"model": twin}, headers=admin).is_success
