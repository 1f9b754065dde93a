"""The folder of blobs: files called by the SHA-256 of what is in them.

A blob appears under its name only when it is complete and on disk; until then it
is a draft, held by a lock that ends with its process. What a killed process left
is removed by the next one that writes.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import filelock
import msgspec

from server.models.files import check_space, storage_errors, sync_folder

DRAFT_PREFIX = "draft-"

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Draft(msgspec.Struct, frozen=True):
    """A blob that is complete but not yet in place. `digest` is `sha256:<hex>`."""

    path: Path
    digest: str
    size: int


class Blobs:
    """The blobs below one folder, which is made by the first that is written."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder = folder
        self._lock = lock

    def path(self, digest: str) -> Path:
        """Where the blob of a digest (`sha256:<hex>`) lies, whether or not it is there."""
        return self.folder / digest.replace(":", "-", 1)

    @contextmanager
    def draft(
        self, chunks: Iterable[bytes], size: int, progress: Progress | None = None
    ) -> Iterator[Draft]:
        """Write chunks, `size` bytes in all, into a draft that is gone afterwards unless placed.

        Raises `StorageFull` before it writes if there is no room, and while it writes
        if the room went away; `ServerError` if the folder cannot be written to.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            check_space(self.folder, size)
            path, file = self._open_draft()
        try:
            with file:
                with storage_errors(self.folder):
                    sha256, written = _copy(chunks, file, size, progress)
                yield Draft(path, f"sha256:{sha256}", written)
        finally:
            path.unlink(missing_ok=True)

    def place(self, draft: Draft) -> None:
        """Give a draft its name. A blob that was there is replaced by the same bytes."""
        with storage_errors(self.folder):
            draft.path.chmod(0o644)
            draft.path.rename(self.path(draft.digest))
            sync_folder(self.folder)

    def write(self, data: bytes) -> Draft:
        """A small blob, written and placed."""
        with self.draft([data], len(data)) as draft:
            self.place(draft)
            return draft

    def remove(self, digest: str) -> None:
        """Remove a blob; silent if it is gone."""
        with storage_errors(self.folder):
            self.path(digest).unlink(missing_ok=True)

    def _open_draft(self) -> tuple[Path, BinaryIO]:
        """A new draft, locked before anybody could take it for a left-over."""
        with filelock.FileLock(self._lock):
            self._sweep()
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=DRAFT_PREFIX)
            fcntl.flock(handle, fcntl.LOCK_EX)
            return Path(name), os.fdopen(handle, "wb")

    def _sweep(self) -> None:
        """Remove drafts whose process is gone: nobody holds their lock."""
        for path in self.folder.glob(f"{DRAFT_PREFIX}*"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _copy(
    chunks: Iterable[bytes], file: BinaryIO, size: int, progress: Progress | None
) -> tuple[str, int]:
    """Write and hash in one pass; the bytes are on disk when it returns."""
    sha256, written = hashlib.sha256(), 0
    for chunk in chunks:
        file.write(chunk)
        sha256.update(chunk)
        written += len(chunk)
        if progress:
            progress(written, size)
    file.flush()
    os.fsync(file.fileno())
    return sha256.hexdigest(), written
