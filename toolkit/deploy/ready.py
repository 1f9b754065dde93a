"""Readiness: the endpoint says that it is ready, and has answered with one token.

Both are asked for at once while it is opened; one that runs is only looked at. A request
waits on the server while the model is loaded, and fails with the reason when it cannot be:
`not ready` alone would never say. Only behind an engine of its own, which ends when it
cannot load, the token comes after readiness: until then a gateway does not know which
models there are.
"""

import asyncio
from collections.abc import Callable, Set

from toolkit.client import Endpoint
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Health, Record
from toolkit.errors import CredentialsError, EndpointError, RequestRefused

POLL_S = 0.05
POLL_MAX_S = 1.0
OVERLOADED = frozenset({503})

Check = Callable[[], None]
Tell = Callable[[str], None]


async def looked_at(record: Record, *, within_s: float, loading: str) -> tuple[Health, str]:
    """How the endpoint of a record behaves, and a sentence about it; raises nothing for one that
    is broken. `loading` says what it does while it is not ready, and its own reason follows."""
    try:
        async with asyncio.timeout(within_s), endpoint_of(record) as endpoint:
            if not await endpoint.is_ready():
                reason = await endpoint.why_not_ready()
                return Health.NOT_READY, f"{loading}{': ' if reason else ''}{reason}"
            await endpoint.version()
    except TimeoutError:
        return Health.NOT_READY, "it runs, but does not answer"
    except CredentialsError as error:
        return Health.NOT_READY, f"its key does not open it: {error.message}"
    except EndpointError as error:
        return Health.NOT_READY, error.message
    return Health.READY, "answers"


async def wait_until_ready(
    endpoint: Endpoint,
    check: Check,
    *,
    is_new: bool,
    passing: Set[int] = OVERLOADED,
    tell: Tell | None = None,
) -> None:
    """Return when the endpoint is ready and has answered with one token.

    `check` raises when waiting is vain. A key that is refused is an error, unless the
    process `is_new`: then another program has its port, and `check` will soon say so. So is
    a refusal, but for the statuses that are `passing`.
    `tell` is for a gateway: it hears why the engine behind it is not ready, as often as that
    changes. Waits for ever by itself: who calls it sets the time.
    """
    if tell is not None:
        await _wait_for_gateway(endpoint, check, tell)
    token = asyncio.create_task(_one_token(endpoint, is_new=is_new, passing=passing))
    pause_s = POLL_S
    try:
        while not ((is_ready := await endpoint.is_ready()) and token.done()):
            check()
            if token.done():
                token.result()
            await asyncio.wait([token], timeout=pause_s)
            if token.done() and not is_ready:
                await asyncio.sleep(POLL_S)
            pause_s = min(pause_s * 1.3, POLL_MAX_S)
        token.result()
        check()
    finally:
        token.cancel()
        await asyncio.wait([token])


async def _wait_for_gateway(endpoint: Endpoint, check: Check, tell: Tell) -> None:
    pause_s, told = POLL_S, ""
    while not await endpoint.is_ready():
        check()
        reason = await endpoint.why_not_ready()
        if reason not in ("", told):
            tell(reason)
            told = reason
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, POLL_MAX_S)


async def _one_token(endpoint: Endpoint, *, is_new: bool, passing: Set[int]) -> None:
    """Ask until there is an answer, or one that asking again would not change."""
    pause_s = POLL_S
    while True:
        try:
            async for _ in endpoint.generate("Hello", options={"num_predict": 1}):
                pass
            return
        except RequestRefused as refused:
            if refused.status not in passing:
                raise
        except CredentialsError:
            if not is_new:
                raise
        except EndpointError:
            pass  # nothing listens yet
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.3, POLL_MAX_S)
