"""The folder of blobs: files called by the SHA-256 of what is in them.

A blob appears under its name only when it is complete and on disk; until then it
is a draft, held by a lock that ends with its process. What a killed process left
is removed by the next one that writes. What is being downloaded lies beside the blobs
under Ollama's names, see `parts`.
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

from server.models.files import check_space, sha256_of, storage_errors, sync_folder

DRAFT_PREFIX = "draft-"

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Draft(msgspec.Struct, frozen=True):
    """A blob that is complete but not yet in place. `digest` is `sha256:<hex>`."""

    path: Path
    digest: str
    size: int


class Writer:
    """A draft that is being written, hashed on the way."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._sha256 = hashlib.sha256()
        self.written = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises `OSError`."""
        self._file.write(chunk)
        self._sha256.update(chunk)
        self.written += len(chunk)

    def finish(self) -> Draft:
        """Bring the bytes to disk; nothing is written after that. Raises `OSError`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return Draft(self.path, f"sha256:{self._sha256.hexdigest()}", self.written)

    def rewritten(self) -> Draft:
        """The draft as another process wrote it, by its path. Raises `OSError`."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return Draft(self.path, f"sha256:{sha256_of(self.path)}", self.path.stat().st_size)


class Blobs:
    """The blobs below one folder, which is made by the first that is written."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder = folder
        self._lock = lock

    def path(self, digest: str) -> Path:
        """Where the blob of a digest (`sha256:<hex>`) lies, whether or not it is there."""
        return self.folder / digest.replace(":", "-", 1)

    def size(self, digest: str) -> int | None:
        """The bytes of a blob; None if it is not there."""
        path = self.path(digest)
        try:
            return path.stat().st_size if path.is_file() else None
        except FileNotFoundError:  # removed a moment ago
            return None

    def renew(self, digest: str) -> bool:
        """Whether a blob is there; it counts as new then, so that no garbage collection that
        begins from now on takes it for long. Hold the lock of the writers, so that none runs."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        except OSError:  # it belongs to somebody else
            return self.size(digest) is not None
        return True

    @contextmanager
    def writer(self, size: int) -> Iterator[Writer]:
        """A draft to write about `size` bytes to; it is gone afterwards unless placed.

        Raises `StorageFull` at once if there is no room; `ServerError` if the folder
        cannot be written to.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            check_space(self.folder, size)
            path, file = self._open_draft()
        try:
            with file:
                yield Writer(path, file)
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def draft(
        self, chunks: Iterable[bytes], size: int, progress: Progress | None = None
    ) -> Iterator[Draft]:
        """Write chunks, `size` bytes in all, into a draft that is gone afterwards unless placed.

        Raises `StorageFull` before it writes if there is no room, and while it writes
        if the room went away; `ServerError` if the folder cannot be written to.
        """
        with self.writer(size) as writer:
            with storage_errors(self.folder):
                for chunk in chunks:
                    writer.write(chunk)
                    if progress:
                        progress(writer.written, size)
                draft = writer.finish()
            yield draft

    def place(self, draft: Draft) -> None:
        """Give a draft its name. A blob that was there is replaced by the same bytes."""
        with storage_errors(self.folder):
            draft.path.chmod(0o644)
            os.utime(draft.path)  # a download may have got its last byte long ago
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
