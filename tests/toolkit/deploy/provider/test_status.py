"""The status of a lease, over real TLS, with real tokens."""

import pytest

from tests.support.provider_gateway import ProviderGateway
from tests.support.provider_tokens import Issuer
from tests.toolkit.deploy.provider.conftest import MakeGateway
from toolkit.deploy.provider.gateway import Gateway
from toolkit.deploy.provider.messages import ForwardedPort, LeaseStatus
from toolkit.deploy.provider.token import Scope, Token
from toolkit.errors import CredentialsError, EndpointError, RequestRefused

SERVICE = {"name": "vllm", "available": 1, "total": 1, "uris": ["a.example"], "replicas": 1}
PORT = {"host": "p.example", "port": 22, "externalPort": 31022, "proto": "TCP", "name": "vllm"}


async def told(gateway: Gateway) -> LeaseStatus:
    status = await gateway.status()
    assert status is not None
    return status


async def test_services_and_ports_are_read(gateway: Gateway, provider: ProviderGateway) -> None:
    body = {"services": {"vllm": SERVICE}, "forwarded_ports": {"vllm": [PORT]}, "ips": None}
    provider.lease.status = (200, body)
    status = await told(gateway)
    assert status.services["vllm"].uris == ("a.example",)
    assert status.forwarded_ports == {
        "vllm": (ForwardedPort("p.example", 22, 31022, "TCP", "vllm"),)
    }
    assert status.is_up


@pytest.mark.parametrize(
    ("services", "is_up"),
    [
        (None, False),
        ({}, False),
        ({"a": None}, False),
        ({"a": {"available": 0, "total": 0}}, False),
        ({"a": {"available": 1, "total": 2}}, False),
        ({"a": SERVICE, "b": {"available": 0, "total": 1, "uris": None}}, False),
        ({"a": SERVICE, "b": {"available": 2, "total": 2, "uris": None}}, True),
    ],
)
async def test_it_is_up_when_all_services_are(
    gateway: Gateway, provider: ProviderGateway, services: object, is_up: bool
) -> None:
    provider.lease.status = (200, {"services": services, "forwarded_ports": {"a": None}})
    assert (await told(gateway)).is_up is is_up


async def test_without_a_manifest_there_is_no_status(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.status = (404, None)
    assert await gateway.status() is None


async def test_a_cluster_that_is_down_is_an_error_with_its_status(
    gateway: Gateway, provider: ProviderGateway
) -> None:
    provider.lease.status = (503, {"message": "kube"})
    with pytest.raises(RequestRefused) as refused:
        await gateway.status()
    assert refused.value.status == 503


@pytest.mark.parametrize("body", [[], "up", {"services": [1]}, {"services": {"a": {"total": "1"}}}])
async def test_what_is_no_status_is_refused(
    gateway: Gateway, provider: ProviderGateway, body: object
) -> None:
    provider.lease.status = (200, body)
    with pytest.raises(EndpointError, match="no status"):
        await gateway.status()


async def test_an_endless_answer_is_cut(gateway: Gateway, provider: ProviderGateway) -> None:
    provider.lease.status = (200, "x" * 5_000_000)
    with pytest.raises(EndpointError, match="more than"):
        await gateway.status()


async def test_one_token_serves_until_it_has_to_be_renewed(
    gateway: Gateway, issuer: Issuer
) -> None:
    await gateway.status()
    await gateway.status()
    assert issuer.asked == [frozenset({Scope.STATUS, Scope.LOGS, Scope.EVENTS})]


async def test_a_token_that_is_refused_is_replaced_once(
    make_gateway: MakeGateway, issuer: Issuer, provider: ProviderGateway
) -> None:
    ended = issuer.make(frozenset(Scope), ended_s_ago=60)
    tokens = iter([ended, issuer.make(frozenset(Scope))])

    async def source(scopes: frozenset[Scope]) -> Token:
        return next(tokens)

    assert await make_gateway(token=source).status() is not None
    assert len({seen.authorization for seen in provider.seen}) == 2


async def test_tokens_that_are_refused_again_are_an_error_in_the_providers_words(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    foreign = Issuer()
    with pytest.raises(CredentialsError, match="JWT is invalid"):
        await make_gateway(token=foreign.token).status()
    assert len(provider.seen) == 2


async def test_a_token_without_the_scope_is_refused(
    make_gateway: MakeGateway, issuer: Issuer
) -> None:
    async def narrow(scopes: frozenset[Scope]) -> Token:
        return issuer.make(frozenset({Scope.LOGS}))

    with pytest.raises(CredentialsError, match="unauthorized access"):
        await make_gateway(token=narrow).status()


async def test_a_token_that_the_provider_repeats_is_not_shown(
    make_gateway: MakeGateway, provider: ProviderGateway, issuer: Issuer
) -> None:
    token = issuer.make(frozenset(Scope))

    async def source(scopes: frozenset[Scope]) -> Token:
        return token

    provider.lease.status = (401, {"message": f"no: \x1b[31m{token.text}"})
    with pytest.raises(CredentialsError) as refused:
        await make_gateway(token=source).status()
    assert token.text not in str(refused.value)
    assert "\x1b" not in str(refused.value)


async def test_a_gateway_that_is_gone_is_an_error(
    make_gateway: MakeGateway, provider: ProviderGateway
) -> None:
    client = make_gateway()
    provider.port = 1
    with pytest.raises(EndpointError, match="does not answer"):
        await make_gateway().status()
    assert await client.status() is not None
