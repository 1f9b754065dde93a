"""What a lease said last, kept before it is closed: providers forget it with the lease."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from toolkit import paths
from toolkit.deploy.akash.gateway import gateway_of
from toolkit.deploy.akash.orders import Order
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.provider.stream import Patience
from toolkit.errors import ToolkitError

LINES = 200
WITHIN_S = 8.0
_ONCE = Patience(attempts_once=1)


async def keep(console: ConsoleClient, order: Order, name: str) -> Path | None:
    """The end of the log of an order's lease, in the folder of the endpoint `name`.

    None where the provider says nothing in time: closing does not wait for it.
    """
    if order.provider is None:
        return None
    lines: list[str] = []
    with suppress(ToolkitError, TimeoutError, OSError, ValueError):
        async with asyncio.timeout(WITHIN_S), gateway_of(console, order, _ONCE) as gateway:
            async for line in gateway.logs(tail=LINES):
                lines.append(f"{line.service} | {line.cleaned.text}")
    if not lines:
        return None
    folder = paths.endpoint(name) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.{order.number}.log"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
    return path
