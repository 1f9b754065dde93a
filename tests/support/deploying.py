"""What tests of deploying share: the stand-in, and waiting for what has to happen."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from toolkit.deploy.keeper import Keeper

STAND_IN = Path(__file__).parent / "stand_in.py"

MakeKeeper = Callable[..., Keeper]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has to happen; a minute is for machines that hang."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
