"""What no model needs any more: blobs that nothing names, downloads that nobody goes on with.

A pull or an upload that was cut off leaves files that the next one goes on with, so only
old ones are removed, and none while somebody fills the store.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server.errors import ModelUnusable, ServerError
from server.models import locks
from server.models.files import storage_errors
from server.models.manifest import DIGEST
from server.models.parts import PARTIAL
from server.models.store import Store

_log = logging.getLogger("akash_llm.models")

# Whole or not, a blob may be of a pull that was cut off, or of a model that is still to be made.
BLOB_AGE_S = 86400.0
LEFT_OVER_AGE_S = 3600.0


class Collected(msgspec.Struct, frozen=True):
    """What was removed. `is_busy`: nothing, because somebody fills the store just now."""

    num_files: int = 0
    num_bytes: int = 0
    is_busy: bool = False


def collect(store: Store, *, now_s: float | None = None) -> Collected:
    """Remove what is not needed and old. Blocks; may be called at any time, by anybody.

    Raises `ModelUnusable` while a manifest cannot be read, for it may name any blob, and
    `ServerError` if the store cannot be changed.
    """
    if not store.blobs.folder.is_dir():
        return Collected()
    store.private_folder()
    now_s = time.time() if now_s is None else now_s
    with storage_errors(store.root), locks.alone(store.writers_lock) as is_alone:
        if not is_alone:
            return Collected(is_busy=True)
        sizes = [*_drop_blobs(store, now_s), *_drop_partials(store.blobs.folder, now_s)]
    return Collected(num_files=len(sizes), num_bytes=sum(sizes))


async def collected(store: Store) -> None:
    """`collect` beside a server that starts; what it did, or could not do, is logged."""
    try:
        done = await asyncio.to_thread(collect, store)
    except ServerError as error:
        _log.warning("nothing was removed from the store: %s", error.message)
        return
    if done.is_busy:
        _log.info("nothing was removed from the store: models are being pulled or made")
    if done.num_files:
        _log.info("removed %d files (%d bytes) that no model needs", done.num_files, done.num_bytes)


def _drop_blobs(store: Store, now_s: float) -> list[int]:
    with store.changing():
        try:
            used = store.manifests.used()
        except (OSError, ValueError) as error:
            raise ModelUnusable(
                f"nothing is removed while a manifest cannot be read: {error}",
                hint="`akash-llm models list` names the damaged model; remove or pull it",
            ) from error
        old = {
            path.name.replace("-", ":", 1): path.stat().st_size
            for path in store.blobs.folder.glob("sha256-*")
            if _is_older(path, now_s - BLOB_AGE_S)
        }
        unused = {
            digest: size
            for digest, size in old.items()
            if DIGEST.fullmatch(digest) and digest not in used
        }
        store.drop(unused)
        return [*unused.values(), *store.drop_left_overs(now_s - LEFT_OVER_AGE_S)]


def _drop_partials(folder: Path, now_s: float) -> Iterator[int]:
    """Remove downloads that nobody has written to for long, with their parts' notes."""
    for path in folder.glob(f"*{PARTIAL}"):
        if _is_older(path, now_s - BLOB_AGE_S) and _can_be_had(path):
            size = path.stat().st_blocks * 512
            for note in folder.glob(f"{path.name}-*"):
                note.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            yield size


def _is_older(path: Path, than_s: float) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime < than_s
    except FileNotFoundError:
        return False


def _can_be_had(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        return locks.own(handle, path)
    finally:
        os.close(handle)
