"""Whom a connection to a provider's gateway is made with.

A gateway shows either a certificate of the web's authorities for its host name, or its
own: self-signed, with the provider's account as its name, published on the chain. Both
are accepted by the rule of the official clients, and nothing else is: a token that went
to someone in between would let them read the logs and stop the lease.

1. The web's authorities vouch for it and it is for this host name; or
2. it is issued by itself, names the provider of the lease, is within its time, and the
   chain lists exactly these bytes as a valid certificate of that provider.

In the second case every connection compares the bytes again, inside the handshake,
before anything is sent. What else the server sends along in its chain plays no part.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from toolkit.deploy.provider import certificate
from toolkit.errors import EndpointError

CONNECT_TIMEOUT_S = 10.0

Published = Callable[[str, int], Awaitable[frozenset[bytes]]]
"""Provider and serial number -> SHA-256 of each valid certificate that the chain lists."""

_HINT = "Do not go on with this provider; close the lease and take another one."


class PinnedContext(ssl.SSLContext):
    """A context in which a handshake ends well with one certificate only, by its bytes."""

    pin: bytes

    def check(self, der: bytes | None) -> None:
        """Raises `ssl.SSLCertVerificationError` for any other certificate."""
        if der is None or certificate.fingerprint(der) != self.pin:
            raise ssl.SSLCertVerificationError("the certificate is not the one that was checked")


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self.context, self.getpeercert(binary_form=True))


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self.context, self.getpeercert(binary_form=True))


def _check(context: ssl.SSLContext, der: bytes | None) -> None:
    if not isinstance(context, PinnedContext):
        raise ssl.SSLCertVerificationError("no certificate is pinned for this connection")
    context.check(der)


def pinned(pin: bytes) -> PinnedContext:
    """A context for the certificate with this SHA-256, whoever issued it."""
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    _without_authorities(context)
    context.pin = pin
    context.sslobject_class = _PinnedObject
    context.sslsocket_class = _PinnedSocket
    return context


async def establish(host: str, port: int, provider: str, published: Published) -> ssl.SSLContext:
    """The context for connections to this gateway.

    Makes one or two connections that send nothing. Raises `EndpointError` for a certificate
    that proves nothing, and `OSError` or `TimeoutError` when there is no connection.
    """
    web = ssl.create_default_context()
    web.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        await _shown(host, port, web)
    except ssl.SSLCertVerificationError:
        der = await _shown(host, port, _looking())
        return pinned(await _vouched(der, provider, published))
    return web


async def _vouched(der: bytes, provider: str, published: Published) -> bytes:
    """The fingerprint of a certificate that the chain vouches for."""
    try:
        seen = certificate.read(der)
    except ValueError as error:
        raise _untrusted(f"{error}") from error
    why = certificate.problem(seen, provider, datetime.now(UTC))
    if why is not None:
        raise _untrusted(why)
    pin = certificate.fingerprint(der)
    if pin not in await published(provider, seen.serial):
        raise _untrusted("the chain does not list it as a valid one of this provider")
    return pin


def _untrusted(why: str) -> EndpointError:
    return EndpointError(
        "The certificate of the provider's gateway proves nothing: no authority of the web "
        f"vouches for it, and as the provider's own {why}.",
        hint=_HINT,
    )


def _looking() -> ssl.SSLContext:
    """For a connection that only looks at the certificate; nothing is ever sent in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _without_authorities(context)
    return context


def _without_authorities(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


async def _shown(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that the server shows in a handshake by `context`."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) or b""
    finally:
        writer.transport.abort()
