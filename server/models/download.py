"""One blob from one server: in parts, several at once, and never twice.

The file that the parts are written to is locked by the process that downloads; another
one waits and finds the blob. What is there when a process is killed is there for the
next one. A blob gets its name only when its bytes are what the name says.
"""

import asyncio
import os
import re
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

import httpx2
import msgspec

from server.errors import PullFailed
from server.models import locks, parts
from server.models.blobs import Blobs, Draft
from server.models.files import check_space, storage_errors
from server.models.parts import Notes, Part
from server.models.patience import Interrupted, Patience, persist
from server.models.verification import hashed

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PIECE_BYTES = 256 << 10  # written at once
_NOTE_BYTES = 8 << 20  # a part's note is written each time so many more are there
_POLL_S = 0.2


class Remote(msgspec.Struct, frozen=True):
    """A blob that lies elsewhere; `digest` is `sha256:<hex>`."""

    url: str
    digest: str
    size: int


class Getter(Protocol):
    """What `Web.get` is."""

    def __call__(
        self, url: str, **headers: str
    ) -> AbstractAsyncContextManager[httpx2.Response]: ...


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Into what parts a blob is cut, and how many are fetched at once."""

    least_bytes: int = parts.LEAST_PART_BYTES
    most_bytes: int = parts.MOST_PART_BYTES
    num_streams: int = 8


class _NoRanges(Exception):
    """The server sends the whole blob when it is asked for a part."""


class Download:
    """Fetches one blob; `completed` is how many bytes are there."""

    def __init__(
        self, remote: Remote, blobs: Blobs, get: Getter, *, patience: Patience, cut: Cut
    ) -> None:
        self._remote = remote
        self._blobs = blobs
        self._get = get
        self._patience = patience
        self._cut = cut
        self._final = blobs.path(remote.digest)
        self._partial = self._final.with_name(f"{self._final.name}{parts.PARTIAL}")
        self._notes = Notes(self._partial)
        self._parts: list[Part] = []
        self._has_ranges = True

    @property
    def completed(self) -> int:
        """The bytes that are there, also those that another process fetches."""
        return parts.completed(self._parts)

    async def run(self) -> None:
        """Fetch it. When it is cancelled, what is there stays.

        Raises `PullFailed`, `NotFound`, `StorageFull`, or `ServerError`.
        """
        with storage_errors(self._blobs.folder):
            self._blobs.folder.mkdir(parents=True, exist_ok=True)
            handle = await self._own()
        if handle is None:
            return
        try:
            await self._fill(handle)
        finally:
            os.close(handle)

    async def _own(self) -> int | None:
        """The partial file, locked; None if the blob is there, made by somebody else."""
        while self._blobs.size(self._remote.digest) != self._remote.size:
            handle = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o644)
            if locks.own(handle, self._partial):
                # Between the look above and the lock somebody may have come to the end.
                if self._blobs.size(self._remote.digest) != self._remote.size:
                    return handle
                self._partial.unlink(missing_ok=True)
            os.close(handle)
            self._parts = self._notes.read(self._remote.size)
            await asyncio.sleep(_POLL_S)
        return None

    async def _fill(self, handle: int) -> None:
        with storage_errors(self._blobs.folder):
            self._resume(handle)
            check_space(self._blobs.folder, self._remote.size - self.completed)
        try:
            await self._fetch_all(handle)
        except _NoRanges:
            self._has_ranges = False
            with storage_errors(self._blobs.folder):
                self._begin(handle, [Part(0, 0, self._remote.size)])
            await self._fetch_all(handle)
        with storage_errors(self._blobs.folder):
            # A slow disk takes a minute for that: who is cancelled does not wait, and a handle
            # that is closed meanwhile does no harm here.
            await asyncio.to_thread(os.fsync, handle)
            await self._check()
            self._blobs.place(Draft(self._partial, self._remote.digest, self._remote.size))
            self._notes.remove()

    def _resume(self, handle: int) -> None:
        """Take over what is there, if there is something."""
        found = self._notes.read(self._remote.size)
        if parts.make_room(handle, self._remote.size) and found:
            self._parts = found
        else:
            cut = self._cut
            self._begin(
                handle,
                parts.plan(
                    self._remote.size, least_bytes=cut.least_bytes, most_bytes=cut.most_bytes
                ),
            )

    def _begin(self, handle: int, planned: list[Part]) -> None:
        self._notes.remove()
        os.ftruncate(handle, 0)
        os.ftruncate(handle, self._remote.size)
        self._parts = planned
        for part in planned:
            self._notes.write(part)

    async def _check(self) -> None:
        """Throw everything away if it is not what was asked for."""
        found = f"sha256:{await hashed(self._partial)}"
        if found != self._remote.digest:
            self._notes.remove()
            self._partial.unlink(missing_ok=True)
            raise PullFailed(
                "digest mismatch, file must be downloaded again: "
                f"want {self._remote.digest}, got {found}",
                hint="pull again; if it stays so, the registry is at fault",
            )

    # -- parts

    async def _fetch_all(self, handle: int) -> None:
        """Fetch what is missing of every part, several at once; the first error ends it."""
        turns = asyncio.Semaphore(self._cut.num_streams)
        tasks = [
            asyncio.create_task(self._fetch(handle, part.n, turns))
            for part in self._parts
            if part.missing
        ]
        try:
            if tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, handle: int, number: int, turns: asyncio.Semaphore) -> None:
        async with turns:
            try:
                await persist(
                    lambda: self._stream(handle, number),
                    self._patience,
                    progress=lambda: self._parts[number].completed,
                )
            finally:
                with suppress(OSError):  # it only saves work
                    self._notes.write(self._parts[number])

    async def _stream(self, handle: int, number: int) -> None:
        """One request for what is missing of a part. Raises `Interrupted` if it ends early."""
        if not self._has_ranges:
            self._parts[number] = msgspec.structs.replace(self._parts[number], completed=0)
        part = self._parts[number]
        is_whole = part.size == self._remote.size and part.completed == 0
        wanted = f"bytes={part.position}-{part.offset + part.size - 1}"
        headers = {} if is_whole else {"range": wanted}
        async with self._get(self._remote.url, **headers) as response:
            self._check_range(response, part)
            await self._save(handle, number, response)
        if self._parts[number].missing:
            raise Interrupted(f"{response.request.url.host} sends less than was asked for")

    async def _save(self, handle: int, number: int, response: httpx2.Response) -> None:
        """Write what comes, in large pieces; also the last piece of a connection that broke."""
        waiting = bytearray()
        try:
            async for chunk in response.aiter_raw():
                if len(waiting) + len(chunk) > self._parts[number].missing:
                    waiting.clear()
                    raise Interrupted(f"{response.request.url.host} sends more than was asked for")
                waiting += chunk
                if len(waiting) >= _PIECE_BYTES:
                    await self._write(handle, number, waiting)
        finally:
            await self._write(handle, number, waiting)

    def _check_range(self, response: httpx2.Response, part: Part) -> None:
        """Whether an answer is the part that was asked for."""
        size = self._remote.size
        if response.status_code == 200:
            length = response.headers.get("content-length", str(size))
            if length != str(size):
                raise PullFailed(f"the file has {length} bytes, the manifest says {size}")
            if part.position or part.size != size:
                raise _NoRanges
            return
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        last = part.offset + part.size - 1
        if found is None or (int(found[1]), int(found[2])) != (part.position, last):
            raise Interrupted(f"{response.request.url.host} sends another part than the wanted one")
        if found[3] not in ("*", str(size)):
            raise PullFailed(f"the file has {found[3]} bytes, the manifest says {size}")

    async def _write(self, handle: int, number: int, data: bytearray) -> None:
        with storage_errors(self._blobs.folder):
            before = self._parts[number]
            piece = bytes(data)
            data.clear()
            await _write_to_its_end(handle, piece, before.position)
            after = self._parts[number] = before.advanced(len(piece))
            if before.completed // _NOTE_BYTES < after.completed // _NOTE_BYTES:
                self._notes.write(after)


async def _write_to_its_end(handle: int, data: bytes, position: int) -> None:
    """Write in a thread and wait for it even when cancelled: the file must stay open for it."""
    working = asyncio.ensure_future(asyncio.to_thread(_write_at, handle, data, position))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


def _write_at(handle: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, position)
        view, position = view[count:], position + count
