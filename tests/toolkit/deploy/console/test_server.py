"""The stand-in is strict: what does not fit is said, and fails the test that sent it."""

import httpx2
import pytest

from tests.support.console import document, samples
from tests.support.console.server import KEY, ConsoleServer
from tests.support.console.world import World

HEADERS = {"x-api-key": KEY}


def asked(world: World, method: str, path: str, **options: object) -> httpx2.Response:
    """One request to a server that has to complain of it."""
    server = ConsoleServer(world)
    with pytest.raises(AssertionError), server:
        url = f"{server.url}{path}"
        answer = httpx2.request(method, url, trust_env=False, **options)  # type: ignore[arg-type]
    assert server.complaints
    return answer


@pytest.mark.parametrize(
    "body",
    [
        {"sdl": samples.SDL},  # no envelope
        {"data": {"sdl": samples.SDL, "autoTopUp": True}},
        {"data": {"sdl": 7}},
        {"data": {}},
    ],
)
def test_a_body_that_is_not_the_client_s(world: World, body: object) -> None:
    assert asked(world, "POST", "/v1/deployments", json=body, headers=HEADERS).status_code == 500
    assert not world.deployments


def test_a_key_where_none_is_needed(world: World) -> None:
    assert asked(world, "GET", "/v1/providers", headers=HEADERS).status_code == 500


@pytest.mark.skipif(
    document.published() is None, reason="the published OpenAPI document is not at hand"
)
class TestDocument:
    def test_a_parameter_that_it_does_not_have(self, world: World) -> None:
        path = "/v1/deployments?sort=name"
        assert asked(world, "GET", path, headers=HEADERS).status_code == 500

    def test_a_value_that_it_does_not_allow(self, world: World) -> None:
        path = "/v1/deployments?limit=1000"
        assert asked(world, "GET", path, headers=HEADERS).status_code == 500

    def test_a_limit_of_runtime_beyond_two_days(self, world: World) -> None:
        body = {"data": {"sdl": samples.SDL, "runtimeLimitHours": 49}}
        asked(world, "POST", "/v1/deployments", json=body, headers=HEADERS)
        assert not world.deployments

    @pytest.mark.parametrize(
        ("path", "status", "body"),
        [
            ("/v1/balances", 200, {"data": {"balance": "1", "deployments": 0, "total": 0}}),
            ("/v1/balances", 200, {"balance": 1, "deployments": 0, "total": 0}),
            ("/v1/deployments/1", 200, {"data": {}}),
            ("/v1/deployments/1", 404, {"message": "no"}),
            ("/v1/balances", 202, {}),
            ("/v1/nowhere", 200, {}),
        ],
    )
    def test_answers_that_it_does_not_know(self, path: str, status: int, body: object) -> None:
        openapi = document.published()
        assert openapi is not None
        assert openapi.complaint_of_answer("GET", path, status, body)

    def test_an_answer_that_it_knows(self) -> None:
        openapi = document.published()
        assert openapi is not None
        body = {"data": {"balance": 1, "deployments": 0, "total": 1}}
        assert openapi.complaint_of_answer("GET", "/v1/balances", 200, body) is None
        error = {"error": "E", "message": "m", "code": "c", "type": "t"}
        assert openapi.complaint_of_answer("GET", "/v1/balances", 429, error) is None


def test_a_body_that_is_not_json(server: ConsoleServer) -> None:
    answer = httpx2.post(
        f"{server.url}/v1/deployments", content=b"x", headers=HEADERS, trust_env=False
    )
    assert answer.status_code == 400
