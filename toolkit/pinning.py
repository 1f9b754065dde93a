"""Whose certificate will do: one of the web's, or one that is known by its bytes.

Whom a connection is made with is settled in the handshake, before anything is sent. A pin
is the SHA-256 of the certificate, so the name and the dates in it do not matter: it is
the very certificate that was seen before, or the connection does not come about. TLS itself
proves that the other side has its key.
"""

import asyncio
import functools
import hashlib
import os
import re
import ssl
from typing import Final

import httpx2

from toolkit.errors import ConfigError

CONNECT_TIMEOUT_S: Final = 10.0

# Where OpenSSL and httpx2 are told which authorities there are.
_AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


class OtherCertificate(ssl.SSLCertVerificationError):
    """The server showed another certificate than the pinned one."""


class PinnedContext(ssl.SSLContext):
    """A context in which a handshake ends well with one certificate only."""

    fingerprint: bytes

    def check(self, certificate: bytes | None) -> None:
        """Raises `OtherCertificate` for any other, given as DER."""
        if certificate is None or _digest(certificate) != self.fingerprint:
            raise OtherCertificate("the certificate is not the pinned one")


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self.context, self.getpeercert(binary_form=True))


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self.context, self.getpeercert(binary_form=True))


def pinned(
    fingerprint: bytes, *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> PinnedContext:
    """A context for the certificate with this SHA-256, whoever issued it to whom."""
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust_anyone(context, minimum)
    context.fingerprint = fingerprint
    context.sslobject_class = _PinnedObject
    context.sslsocket_class = _PinnedSocket
    return context


def public(*, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """The context for certificates that the authorities vouch for which this machine trusts.

    One for all of this process, since reading the authorities takes a tenth of a second; another
    where the environment names others meanwhile. Not to be changed.
    """
    return _public(minimum, *map(os.environ.get, _AUTHORITIES))


@functools.cache
def _public(minimum: ssl.TLSVersion, *_: str | None) -> ssl.SSLContext:
    context = httpx2.create_ssl_context()
    context.minimum_version = minimum
    return context


def anyone(*, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A context for who only looks at the certificate: nothing may be sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust_anyone(context, minimum)
    return context


def fingerprint_of(text: str) -> bytes:
    """A SHA-256 as people write it, in hex with or without colons; else `ConfigError`."""
    plain = text.strip().replace(":", "").lower()
    if not _HEX.fullmatch(plain):
        raise ConfigError(
            f"{text[:80]!r} is not the SHA-256 fingerprint of a certificate.",
            hint="Give its 64 hexadecimal digits.",
        )
    return bytes.fromhex(plain)


async def seen(host: str, port: int) -> bytes:
    """SHA-256 of the certificate that a server shows, whatever it is; nothing is sent to it.

    Raises `OSError` or `TimeoutError` where there is no handshake.
    """
    return _digest(await shown(host, port, anyone()))


async def is_publicly_trusted(host: str, port: int) -> bool:
    """Whether an authority that this machine trusts vouches for the server at that name.

    Nothing is sent to it. Raises `OSError` or `TimeoutError` where there is no handshake.
    """
    try:
        await shown(host, port, public())
    except ssl.SSLCertVerificationError:
        return False
    return True


async def shown(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """The certificate, as DER, that the server shows in a handshake by `context`."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) or b""
    finally:
        writer.transport.abort()


def _trust_anyone(context: ssl.SSLContext, minimum: ssl.TLSVersion) -> None:
    """For who looks at the certificate itself, or sends nothing."""
    context.minimum_version = minimum
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def _check(context: ssl.SSLContext, certificate: bytes | None) -> None:
    if not isinstance(context, PinnedContext):
        raise OtherCertificate("no certificate is pinned for this connection")
    context.check(certificate)


def _digest(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()
