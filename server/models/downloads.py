"""The downloads of a process: two pulls that want the same blob share one.

It goes on while one of them wants it. When the last one goes, it is stopped and what is
there stays for the next.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from server.models.blobs import Blobs
from server.models.download import Cut, Download, Remote
from server.models.patience import Patience
from server.models.web import Web

PROGRESS_S = 0.25


class _Running:
    """A download that goes on, and how many want it."""

    def __init__(self, download: Download, task: asyncio.Task[None]) -> None:
        self.download = download
        self.task = task
        self.num_wanted = 0


class Downloads:
    """Fetches blobs into one store. For one event loop."""

    def __init__(self, blobs: Blobs, patience: Patience, cut: Cut) -> None:
        self._blobs = blobs
        self._patience = patience
        self._cut = cut
        self._running: dict[str, _Running] = {}

    async def follow(
        self, remote: Remote, open_web: Callable[[], Web]
    ) -> AsyncGenerator[int, None]:
        """Fetch a blob, or watch it being fetched; now and then how many bytes are there.

        Close the generator to stop wanting it. Raises like `Download.run`.
        """
        running = self._running.get(remote.digest) or self._start(remote, open_web)
        running.num_wanted += 1
        told = 0
        try:
            while not running.task.done():
                await asyncio.wait({running.task}, timeout=PROGRESS_S)
                if running.download.completed != told:
                    told = running.download.completed
                    yield told
            running.task.result()
        finally:
            running.num_wanted -= 1
            if running.num_wanted == 0:
                await self._stop(remote.digest, running)

    def _start(self, remote: Remote, open_web: Callable[[], Web]) -> _Running:
        web = open_web()
        download = Download(remote, self._blobs, web.get, patience=self._patience, cut=self._cut)

        async def run() -> None:
            try:
                async with web:
                    await download.run()
            finally:
                self._running.pop(remote.digest, None)

        running = self._running[remote.digest] = _Running(download, asyncio.create_task(run()))
        return running

    async def _stop(self, digest: str, running: _Running) -> None:
        if self._running.get(digest) is running:
            del self._running[digest]
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
