"""The body of a request, whatever its Content-Type says: read, unpacked and decoded without
holding up the replies of others.

What is large is decoded in a thread. Python runs one thread at a time, but it changes
between them every 5 ms, except inside of one call of C: the longest is the JSON decoder's,
28 ms for 50 MB of images. Only a body of millions of tiny values would hold it for longer,
and is refused beforehand.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from litestar import Request
from litestar.exceptions import InternalServerException

from server import exchange
from server.api.content_encoding import unpacked
from server.errors import ClientGone, InvalidRequest, PayloadTooLarge
from server.limits import MAX_JSON_VALUES

T = TypeVar("T")

# Decoding less takes about as long as handing it to a thread.
INLINE_BYTES = 64 * 1024
_SLICE_BYTES = 1 << 20


async def read_json(request: Request[Any, Any, Any], decode: Callable[[bytes], T]) -> T:
    """All of the body through `decode`, whose errors it raises, and those of `read_body`."""
    body = await read_body(request)
    await check_values(body)
    return await off_loop(len(body), lambda: decode(body))


async def off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Do work on so many bytes: in a thread if they are many."""
    return work() if size_bytes <= INLINE_BYTES else await asyncio.to_thread(work)


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """All of the body. Litestar refuses one that is too large while it arrives.

    Raises `InvalidRequest` if it takes too long, so that a client cannot hold a
    connection by sending a byte now and then, `ClientGone` if it stops half way,
    `Overloaded` if other bodies have all the memory, and what `unpacked` raises.
    """
    served = exchange.current()
    timeout_s = served.body_timeout_s if served else None
    grow_to = served.body.grow_to if served else _no_limit
    try:
        async with asyncio.timeout(timeout_s):
            body = await _receive(request, grow_to)
    except InternalServerException:  # what Litestar makes of a disconnect
        raise ClientGone("request canceled") from None
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {timeout_s:g} s") from None
    encoding = request.headers.get("content-encoding", "")
    most_bytes = request.route_handler.resolve_request_max_body_size() or 0
    return await unpacked(body, encoding, most_bytes, grow_to)


async def stream_body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The body as it comes, however large it is and however long all of it takes.

    Raises `InvalidRequest` if nothing comes for as long as another body may take in all,
    and `ClientGone` if it stops half way.
    """
    served = exchange.current()
    timeout_s = served.body_timeout_s if served else None
    parts = request.stream()
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except InternalServerException:  # what Litestar makes of a disconnect
            raise ClientGone("request canceled") from None
        except TimeoutError:
            raise InvalidRequest(
                f"nothing of the body arrived for {timeout_s:g} s", hint="send it again"
            ) from None
        yield part


async def check_values(body: bytes) -> None:
    """Raise `PayloadTooLarge` if a body of JSON has more values than anything needs."""
    if len(body) <= MAX_JSON_VALUES:
        return
    count = 0
    for start in range(0, len(body), _SLICE_BYTES):
        end = start + _SLICE_BYTES
        count += sum(body.count(mark, start, end) for mark in (b",", b"{", b"["))
        if count > MAX_JSON_VALUES:
            raise PayloadTooLarge(f"the body has more than {MAX_JSON_VALUES} values")
        await asyncio.sleep(0)


async def _receive(request: Request[Any, Any, Any], grow_to: Callable[[int], None]) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        grow_to(size)
        parts.append(part)
    return b"".join(parts)


def _no_limit(_: int) -> None:
    """Outside of a request nothing is counted."""
