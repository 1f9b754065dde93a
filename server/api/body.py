"""The body of a request, whatever its Content-Type says."""

import asyncio
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from server.errors import ClientGone, InvalidRequest
from server.limits import BODY_TIMEOUT_S


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """All of the body. Litestar refuses one that is too large while it arrives.

    Raises `InvalidRequest` if it takes too long, so that a client cannot hold a
    connection by sending a byte now and then, and `ClientGone` if it stops half way.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.body()
    except InternalServerException:  # what Litestar makes of a disconnect
        raise ClientGone("request canceled") from None
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
