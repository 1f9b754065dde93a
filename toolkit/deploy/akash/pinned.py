"""Whether the web vouches for an address; if not, which certificate stands there."""

import asyncio
from collections.abc import Callable

import httpx2

from toolkit import pinning
from toolkit.errors import EndpointError

HTTPS_PORT = 443


async def pin_of(url: str, check: Callable[[], None], poll_s: float) -> str:
    """The SHA-256 of the certificate at `url`, in hex; empty where the web vouches for it.

    Waits until there is one: a name is not everywhere at once. `check` raises when waiting
    is vain. Sends nothing.
    """
    parsed = httpx2.URL(url)
    host, port = str(parsed.host), int(parsed.port or HTTPS_PORT)
    while True:
        check()
        try:
            if await pinning.is_publicly_trusted(host, port):
                return ""
            return (await pinning.seen(host, port)).hex()
        except (EndpointError, OSError):
            await asyncio.sleep(poll_s)
