"""Which certificates a token is sent to: the web's for the host, or the provider's own."""

import ssl
from collections.abc import Callable

import pytest

from tests.support.certificates import KeyPair, self_signed, signed_by
from tests.support.chain_api import ChainApi
from tests.support.provider_gateway import ProviderGateway
from tests.toolkit.deploy.provider.conftest import PROVIDER, SERIAL, Certificates
from toolkit.deploy.provider.gateway import Gateway
from toolkit.errors import EndpointError

Make = Callable[[Certificates], KeyPair]


def other(folder_name: str, *, serial: int = SERIAL, is_over: bool = False) -> Make:
    """A certificate of the provider's name that is not the one on the chain."""

    def make(certificates: Certificates) -> KeyPair:
        folder = certificates.folder / folder_name
        folder.mkdir(exist_ok=True)
        return self_signed(folder, PROVIDER, serial=serial, is_over=is_over)

    return make


async def test_the_providers_own_certificate_is_taken_when_the_chain_lists_it(
    gateway: Gateway, chain: ChainApi
) -> None:
    assert await gateway.status() is not None
    asked = {"filter.owner": PROVIDER, "filter.serial": str(SERIAL), "filter.state": "valid"}
    assert chain.asked == [asked]


async def test_a_certificate_of_the_web_is_taken_without_the_chain(
    gateway: Gateway,
    provider: ProviderGateway,
    chain: ChainApi,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.certificate))
    provider.present(certificates.web)
    assert await gateway.status() is not None
    assert chain.asked == []


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (other("unlisted"), "the chain does not list it"),
        (other("serial", serial=8), "the chain does not list it"),
        (other("over", is_over=True), "it has expired"),
        (lambda c: self_signed(c.folder, "akash1other"), "it does not name the provider"),
        (lambda c: signed_by(c.authority, c.folder, PROVIDER), "not issued by the provider"),
        (lambda c: signed_by(c.authority, c.folder, "else.example"), "does not name the provider"),
    ],
)
async def test_any_other_certificate_is_refused_before_a_token_is_sent(
    gateway: Gateway,
    provider: ProviderGateway,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    why: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.certificate))
    provider.present(make(certificates))
    with pytest.raises(EndpointError, match=why):
        await gateway.status()
    assert provider.seen == []
    assert provider.issuer.made == []


async def test_a_certificate_that_is_swapped_later_is_refused_in_the_handshake(
    gateway: Gateway, provider: ProviderGateway, certificates: Certificates
) -> None:
    assert await gateway.status() is not None
    provider.present(other("swapped")(certificates))
    for _ in range(2):
        with pytest.raises(EndpointError):
            await gateway.status()
    with pytest.raises(EndpointError, match="the chain does not list it"):
        async for _ in gateway.logs(follow=True):
            pass
    assert len(provider.seen) == 1


async def test_a_stream_goes_on_with_a_new_certificate_that_the_chain_lists(
    gateway: Gateway, provider: ProviderGateway, chain: ChainApi, certificates: Certificates
) -> None:
    assert await gateway.status() is not None
    renewed = other("renewed", serial=9)(certificates)
    chain.publish(PROVIDER, 9, renewed)
    provider.present(renewed)
    provider.lease.write("vllm-0", "one")
    assert [line.text async for line in gateway.logs()] == ["one"]


async def test_older_tls_is_refused(gateway: Gateway, provider: ProviderGateway) -> None:
    provider.tls.minimum_version = ssl.TLSVersion.TLSv1_2
    provider.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(EndpointError, match="does not answer"):
        await gateway.status()


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"certificates":[{"certificate":{"cert":"%","state":"valid"},"serial":"7"}]}',
    ],
)
async def test_a_chain_that_cannot_be_read_vouches_for_nothing(
    gateway: Gateway, provider: ProviderGateway, chain: ChainApi, answer: bytes
) -> None:
    chain.answer = answer
    with pytest.raises(EndpointError, match="cannot be read"):
        await gateway.status()
    assert provider.seen == []


async def test_a_chain_without_any_certificate_vouches_for_nothing(
    gateway: Gateway, chain: ChainApi
) -> None:
    chain.answer = b'{"certificates":null}'
    with pytest.raises(EndpointError, match="does not list it"):
        await gateway.status()
