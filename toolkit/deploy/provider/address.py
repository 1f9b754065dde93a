"""Where a provider's gateway listens."""

import re
from typing import NamedTuple

import httpx2

from toolkit.errors import ConfigError
from toolkit.safetext import cleaned

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_DEFAULT_PORT = 443


class Address(NamedTuple):
    """A host and its port; always https."""

    host: str
    port: int

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """The address in a provider's `hostUri`. Raises `ConfigError` for anything but https."""
        try:
            url = httpx2.URL(uri.strip())
        except httpx2.InvalidURL as error:
            raise _no_address(uri) from error
        extra = url.userinfo or url.query or url.path not in ("", "/")
        if url.scheme != "https" or extra or not _HOST.fullmatch(url.host):
            raise _no_address(uri)
        return cls(url.host, url.port or _DEFAULT_PORT)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _no_address(uri: str) -> ConfigError:
    return ConfigError(
        f"{cleaned(uri)!r} is not the address of a provider's gateway.",
        hint="It is given as https://HOST:8443 by the provider's record.",
    )
