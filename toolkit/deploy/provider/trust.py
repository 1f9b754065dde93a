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

import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from toolkit import pinning
from toolkit.deploy.provider import certificate
from toolkit.errors import EndpointError

TLS = ssl.TLSVersion.TLSv1_3
"""The least that gateways speak."""

Published = Callable[[str, int], Awaitable[frozenset[bytes]]]
"""Provider and serial number -> SHA-256 of each valid certificate that the chain lists."""

_HINT = "Do not go on with this provider; close the lease and take another one."


async def establish(host: str, port: int, provider: str, published: Published) -> ssl.SSLContext:
    """The context for connections to this gateway.

    Makes one or two connections that send nothing. Raises `EndpointError` for a certificate
    that proves nothing, and `OSError` or `TimeoutError` when there is no connection.
    """
    web = pinning.public(minimum=TLS)
    try:
        await pinning.shown(host, port, web)
    except ssl.SSLCertVerificationError:
        der = await pinning.shown(host, port, pinning.anyone(minimum=TLS))
        return pinning.pinned(await _vouched(der, provider, published), minimum=TLS)
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
