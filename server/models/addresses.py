"""Which addresses of the network a download may go to.

A registry that answers with a redirect chooses where this machine connects to. Unless the
registry itself lies in a private network, that must not be one: not this machine, not its
neighbours, not the metadata service of a cloud. The connection is made to the address that
was looked at, so a name that resolves to something else a moment later changes nothing.
"""

import asyncio
import ipaddress
import socket
import urllib.request
from collections.abc import Awaitable, Callable

from server.errors import PullFailed

Resolve = Callable[[str, int], Awaitable[list[str]]]


def is_private(address: str) -> bool:
    """Whether an address is not one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return not ip.is_global or ip.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def goes_through_proxy(scheme: str, host: str) -> bool:
    """Whether the environment names a proxy for a URL: then that resolves the name."""
    proxies = urllib.request.getproxies()
    has_one = scheme in proxies or "all" in proxies
    return has_one and not urllib.request.proxy_bypass(host)


class Guard:
    """Decides for one registry. `allow_private`: it lies in a private network itself."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolve,
        is_private: Callable[[str], bool] = is_private,
    ) -> None:
        self.allow_private = allow_private
        self._resolve = resolve
        self._is_private = is_private

    async def looks_private(self, host: str, port: int) -> bool:
        """Whether a host is in a private network; a name that does not resolve is not."""
        try:
            return any(map(self._is_private, await self._addresses(host, port)))
        except OSError:
            return False

    async def address(self, scheme: str, host: str, port: int) -> str | None:
        """The address to connect to, or None to connect by name.

        Raises `PullFailed` for a private one, `OSError` for a name without any.
        """
        if self.allow_private or (not _is_literal(host) and goes_through_proxy(scheme, host)):
            return None
        addresses = await self._addresses(host, port)
        if not addresses or any(map(self._is_private, addresses)):
            raise PullFailed(
                f"the registry sends to {host}, which is in a private network",
                hint="use a registry that serves its files itself or from the internet",
            )
        return addresses[0]

    async def _addresses(self, host: str, port: int) -> list[str]:
        return [host] if _is_literal(host) else await self._resolve(host, port)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
