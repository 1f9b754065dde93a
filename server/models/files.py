"""Writing files so that they are there whole or not at all.

Failures of the file system become errors that say what to do.
"""

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from server.errors import ServerError, StorageFull

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
SPARE_BYTES = 64 << 20  # left free on the disk by whatever is written
FULL = (errno.ENOSPC, errno.EDQUOT)


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file beside its place and put it there in one step; it lasts a power cut.

    The folder must exist. Raises `OSError`; then the old file is still there.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}-")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_older(path: Path, before_s: float) -> int | None:
    """Remove a file that was changed before a time; its bytes, or None if it stays."""
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or status.st_mtime >= before_s:
            return None
        path.unlink()
    except FileNotFoundError:
        return None
    return status.st_size


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a chunk at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def sha256_of(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """The digest (hex) of what is in a file; `progress` is told how many bytes were read.
    Raises `OSError`."""
    digest = hashlib.sha256()
    done = 0
    for chunk in read_chunks(path):
        digest.update(chunk)
        done += len(chunk)
        progress(done)
    return digest.hexdigest()


async def while_awaited(work: Callable[[Callable[[], bool]], T]) -> T:
    """Do work in a thread, which asks now and then whether it is still wanted: once nobody waits
    for it any more, no process should stay for as long as it takes."""
    is_over = threading.Event()
    try:
        return await asyncio.to_thread(work, lambda: not is_over.is_set())
    finally:
        is_over.set()


def check_space(folder: Path, size: int) -> None:
    """Raise `StorageFull` unless `size` bytes fit where an existing folder lies."""
    free = shutil.disk_usage(folder).free
    if size + SPARE_BYTES > free:
        raise _full(folder, f"{_megabytes(size)} are needed, {_megabytes(free)} are free")


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` while a folder is changed into `StorageFull` or `ServerError`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder, "the disk is full") from error
        raise ServerError(
            f"{folder} cannot be changed: {error.strerror or error}",
            hint="check who owns it, or choose another place with AKASH_LLM_HOME",
        ) from error


def _full(folder: Path, detail: str) -> StorageFull:
    return StorageFull(
        f"no space left in {folder}: {detail}",
        hint="free some space (`akash-llm models rm NAME` removes a model), "
        "or choose another disk with AKASH_LLM_HOME",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
