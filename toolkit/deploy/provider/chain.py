"""The certificates that a provider has published on the chain, by the chain's REST API."""

import binascii
import ssl
from base64 import b64decode
from urllib.parse import urlencode

import msgspec

from toolkit.deploy.provider import certificate
from toolkit.errors import EndpointError
from toolkit.transport import Transport

CHAIN_URL = "https://rpc.akt.dev/rest"
"""The one that the Console uses."""


class _Encoded(msgspec.Struct, frozen=True):
    cert: str = ""
    state: str = ""


class _Listed(msgspec.Struct, frozen=True):
    certificate: _Encoded | None = None
    serial: str = ""


class _Page(msgspec.Struct, frozen=True):
    certificates: tuple[_Listed, ...] | None = None


class Chain:
    """Reads the chain; asks anew each time, for a certificate may be withdrawn."""

    def __init__(self, url: str = CHAIN_URL) -> None:
        """Raises `ConfigError` for a URL that cannot be meant."""
        self._transport = Transport(url)

    async def published(self, provider: str, serial: int) -> frozenset[bytes]:
        """SHA-256 of each valid certificate of `provider` with this serial number.

        The chain is asked for exactly these, and an answer that holds others is not
        believed: they are left out. Raises `EndpointError`.
        """
        filters = {
            "filter.owner": provider,
            "filter.serial": str(serial),
            "filter.state": "valid",
        }
        path = f"/akash/cert/v1/certificates/list?{urlencode(filters)}"
        listed = _decoded(await self._transport.json("GET", path))
        return frozenset(
            certificate.fingerprint(_der(one.certificate.cert))
            for one in listed
            if one.certificate is not None
            and one.certificate.state == "valid"
            and one.serial == str(serial)
        )

    async def aclose(self) -> None:
        """Close the connections. May be repeated."""
        await self._transport.aclose()


def _decoded(body: bytes) -> tuple[_Listed, ...]:
    try:
        return msgspec.json.decode(body, type=_Page).certificates or ()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable() from error


def _der(encoded: str) -> bytes:
    """The bytes of a certificate that is kept as base64 of a PEM text."""
    try:
        return ssl.PEM_cert_to_DER_cert(b64decode(encoded, validate=True).decode("ascii"))
    except (binascii.Error, ValueError) as error:
        raise _unreadable() from error


def _unreadable() -> EndpointError:
    return EndpointError(
        "The chain's list of certificates cannot be read.",
        hint="Its API may be down or have changed; try again later.",
    )
