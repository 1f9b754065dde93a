"""Readiness: the endpoint says that it is ready, and then has answered with one token."""

import asyncio
from collections.abc import Callable

from toolkit.client import Endpoint
from toolkit.errors import CredentialsError

POLL_S = 0.05
POLL_MAX_S = 1.0

Check = Callable[[], None]


async def wait_until_healthy(endpoint: Endpoint, check: Check) -> None:
    """Return when the endpoint calls itself ready; `check` raises when waiting is vain.

    Waits for ever by itself: who calls it sets the time.
    """
    pause_s = POLL_S
    while not await endpoint.is_ready():
        check()
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, POLL_MAX_S)
    check()


async def wait_for_token(endpoint: Endpoint, check: Check, *, is_new: bool) -> None:
    """Return when the model has answered with one token.

    A key that is refused means, for a process that is new, that another program has
    its port: it is about to end with that, and `check` will say so.
    """
    while True:
        try:
            async for _ in endpoint.generate("Hello", options={"num_predict": 1}):
                pass
            check()
            return
        except CredentialsError:
            if not is_new:
                raise
            check()
            await asyncio.sleep(POLL_MAX_S)
