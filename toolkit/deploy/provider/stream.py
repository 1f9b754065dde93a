"""One stream that a person follows, over as many connections as it takes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec

from toolkit.deploy.provider.endings import Closed, Interrupted
from toolkit.deploy.provider.link import Link, Socket
from toolkit.deploy.provider.readers import Reader
from toolkit.errors import CredentialsError, EndpointError

T = TypeVar("T")

Tell = Callable[[str], None]
"""Hears why a connection is made again."""


class Patience(msgspec.Struct, frozen=True):
    """How often and how long a stream is tried again while nothing comes.

    Pauses double from `first_s` to `most_s`; after `attempts` in a row it gives up (after
    `attempts_once` where nobody follows: then someone waits for an answer).
    A gateway is quiet once it has sent nothing for `quiet_s`, and after `settle_s` at the
    latest what it sent is told, though it might go on sending the past.
    """

    first_s: float = 0.5
    most_s: float = 15.0
    attempts: int = 20
    attempts_once: int = 3
    quiet_s: float = 1.0
    settle_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row, from 1 on."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)


class Stream:
    """A path of one gateway, followed. With `follow` it ends only by an error; without it when
    the gateway has sent what there is."""

    def __init__(
        self, link: Link, path: str, *, follow: bool, patience: Patience, tell: Tell | None
    ) -> None:
        self._link = link
        self._path = path
        self._follow = follow
        self._patience = patience
        self._tell = tell
        self._failures = 0
        self._is_refused = False

    async def read(self, reader: Reader[T]) -> AsyncGenerator[T, None]:
        """What the reader makes of it. Raises `ToolkitError`s."""
        while True:
            try:
                async with self._link.socket(self._path, reader.query()) as socket:
                    reader.opened()
                    self._is_refused = False
                    async with aclosing(self._until_renewal(socket, reader)) as told:
                        async for one in told:
                            yield one
                continue
            except Closed as closed:
                if closed.is_regular and not self._follow:
                    break
                await self._pause(str(closed), closed)
            except Interrupted as interrupted:
                await self._pause(str(interrupted), interrupted)
            except CredentialsError as refused:
                await self._once_more(refused)
        for one in reader.settle():
            yield one

    async def _until_renewal(self, socket: Socket, reader: Reader[T]) -> AsyncGenerator[T, None]:
        """What comes before the token has to be renewed."""
        settle_at = time.monotonic() + self._patience.settle_s
        while (now := time.monotonic()) < socket.renew_at:
            if reader.is_holding and now >= settle_at:
                for one in reader.settle():
                    yield one
            wait_s = socket.renew_at - now
            if reader.is_holding:
                wait_s = min(wait_s, self._patience.quiet_s)
            try:
                async with asyncio.timeout(wait_s):
                    frame = await socket.frame()
            except TimeoutError:
                # At the time to renew, the next connection sends again what is held back.
                new = reader.settle() if time.monotonic() < socket.renew_at else ()
            else:
                self._failures = 0
                new = reader.take(frame)
            for one in new:
                yield one

    async def _pause(self, why: str, cause: Interrupted) -> None:
        self._failures += 1
        patience = self._patience
        if self._failures >= (patience.attempts if self._follow else patience.attempts_once):
            raise EndpointError(
                f"The provider's gateway gave nothing in {self._failures} attempts; "
                f"the last: {why}.",
                hint="The provider may be down or its pods not started: akash-llm status",
            ) from cause
        if self._tell is not None:
            self._tell(why)
        await asyncio.sleep(patience.pause_s(self._failures))

    async def _once_more(self, refused: CredentialsError) -> None:
        """A token may have been withdrawn; a new one that is refused as well is final."""
        if self._is_refused:
            raise refused
        self._is_refused = True
        await asyncio.sleep(self._patience.first_s)
