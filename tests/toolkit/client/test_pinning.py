"""Whom a key is sent to: who an authority vouches for, or one certificate by its bytes."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.support.certificates import KeyPair
from tests.support.endpoint import MODEL, ScriptedEndpoint
from tests.toolkit.client.conftest import Certificates, pin_of, serving
from toolkit import pinning
from toolkit.client import Endpoint
from toolkit.errors import ConfigError, EndpointError

KEY = "ak-canary-51c0ffee"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def opened(server: ScriptedEndpoint, pin: str | None, host: str = "127.0.0.1") -> Endpoint:
    url = f"https://{host}:{server.port}"
    return Endpoint.open(url=url, key=KEY, pin=pin, model=MODEL)


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is one of the web's here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.certificate))


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_the_pinned_certificate_is_accepted_whatever_its_name_and_dates(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    tls = serving(certificates.own, version)
    async with (
        ScriptedEndpoint(key=KEY, tls=tls) as server,
        opened(server, pin_of(certificates.own)) as endpoint,
    ):
        chunks = [chunk async for chunk in endpoint.chat("hi")]
        assert chunks[-1].done
        assert server.connections == 1


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("show", [lambda c: c.other, lambda c: c.web])
async def test_any_other_certificate_is_refused_and_nothing_is_sent(
    certificates: Certificates,
    trusted: None,
    version: ssl.TLSVersion,
    show: Callable[[Certificates], KeyPair],
) -> None:
    """Not even one that an authority vouches for."""
    async with (
        ScriptedEndpoint(tls=serving(show(certificates), version)) as server,
        opened(server, pin_of(certificates.own), "localhost") as endpoint,
    ):
        with pytest.raises(EndpointError, match="another certificate") as caught:
            await endpoint.tags()
        assert "--replace" in caught.value.hint and KEY not in str(caught.value)
        assert server.received == []


async def test_without_a_pin_an_authority_has_to_vouch_for_it(
    certificates: Certificates, trusted: None
) -> None:
    async with (
        ScriptedEndpoint(tls=serving(certificates.own)) as server,
        opened(server, None) as endpoint,
    ):
        with pytest.raises(EndpointError, match="No authority vouches"):
            await endpoint.tags()
        assert server.received == []
    async with (
        ScriptedEndpoint(tls=serving(certificates.web)) as server,
        opened(server, None, "localhost") as endpoint,
        opened(server, None, "127.0.0.1") as elsewhere,
    ):
        assert len(await endpoint.tags()) == 1
        with pytest.raises(EndpointError, match="No authority vouches"):
            await elsewhere.tags()
        assert len(server.received) == 1


async def test_a_server_without_tls_gets_nothing(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.transport.CONNECT_TIMEOUT_S", 0.5)  # it waits for a line's end
    async with (
        ScriptedEndpoint() as server,
        opened(server, pin_of(certificates.own)) as endpoint,
    ):
        with pytest.raises(EndpointError):
            await endpoint.tags()
        assert server.received == []


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_looking_at_a_certificate_sends_nothing(
    certificates: Certificates, trusted: None, version: ssl.TLSVersion
) -> None:
    for pair, host, is_trusted in (
        (certificates.own, "localhost", False),
        (certificates.web, "localhost", True),
        (certificates.web, "127.0.0.1", False),
    ):
        async with ScriptedEndpoint(tls=serving(pair, version)) as server:
            assert await pinning.seen(host, server.port) == hashlib.sha256(pair.der).digest()
            assert await pinning.is_publicly_trusted(host, server.port) is is_trusted
            assert server.received == []


async def test_looking_where_nobody_is_says_so(free_port: Callable[[], int]) -> None:
    port = free_port()
    for look in (pinning.seen, pinning.is_publicly_trusted):
        with pytest.raises(OSError):
            await look("127.0.0.1", port)


async def test_older_tls_can_be_refused(certificates: Certificates) -> None:
    context = pinning.pinned(bytes.fromhex(pin_of(certificates.own)), minimum=TLS13)
    async with ScriptedEndpoint(tls=serving(certificates.own, TLS12)) as server:
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=context)


async def test_blocking_sockets_are_checked_too(certificates: Certificates) -> None:
    def connect(port: int, pin: str) -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            pinning.pinned(bytes.fromhex(pin)).wrap_socket(plain) as wrapped,
        ):
            wrapped.getpeercert()

    async with ScriptedEndpoint(tls=serving(certificates.own)) as server:
        await asyncio.to_thread(connect, server.port, pin_of(certificates.own))
        with pytest.raises(pinning.OtherCertificate):
            await asyncio.to_thread(connect, server.port, pin_of(certificates.other))


@pytest.mark.parametrize("written", ["AA" * 32, ":".join(["aa"] * 32), f" {'aA' * 32}\n"])
def test_a_fingerprint_is_read_as_people_write_it(written: str) -> None:
    assert pinning.fingerprint_of(written) == b"\xaa" * 32


@pytest.mark.parametrize("written", ["", "aa", "zz" * 32, "aa" * 33, "²" * 64])
def test_what_is_no_fingerprint_is_refused(written: str) -> None:
    with pytest.raises(ConfigError):
        Endpoint.open(url="https://h", pin=written)


def test_a_pin_goes_with_https_only() -> None:
    with pytest.raises(ConfigError, match="not https"):
        Endpoint.open(url="http://127.0.0.1:1", pin="aa" * 32)


def test_the_authorities_are_read_once_unless_others_are_named(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = pinning.public()
    assert pinning.public() is usual
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.certificate))
    ours = pinning.public()
    assert ours is not usual and len(ours.get_ca_certs()) == 1
    strict = pinning.public(minimum=ssl.TLSVersion.TLSv1_3)
    assert strict is not ours and ours.minimum_version is ssl.TLSVersion.TLSv1_2
