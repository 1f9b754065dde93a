"""Blobs that a client sends, to make a model of them later."""

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

from server.errors import InvalidRequest, ModelUnusable, PayloadTooLarge
from server.models import locks
from server.models.blobs import Writer
from server.models.files import CHUNK_BYTES, read_chunks, sha256_of, storage_errors
from server.models.manifest import parse_digest
from server.models.store import Store

MAX_BLOB_BYTES = 1 << 40


async def keep_blob(store: Store, digest: str) -> bool:
    """Whether a blob is there. Whoever asks will not send it but make a model of it, so it
    stays for a while although no model needs it.

    Raises `InvalidRequest` for what is no digest, `ServerError` if the store cannot be changed.
    """
    digest = parse_digest(digest)
    if store.blobs.size(digest) is None:
        return False
    await asyncio.to_thread(store.private_folder)
    with storage_errors(store.root):
        async with locks.shared(store.writers_lock):
            return store.blobs.renew(digest)


def take_file(store: Store, path: Path) -> str:
    """Copy a file of this machine into the store as a blob; its digest. Blocks.

    Raises `ModelUnusable` if it cannot be read, `StorageFull`, or `ServerError`.
    """
    try:
        size = path.stat().st_size
        digest = f"sha256:{sha256_of(path)}"
    except OSError as error:
        raise ModelUnusable(f"{path} cannot be read: {error.strerror}") from error
    if not store.blobs.renew(digest):
        store.private_folder()
        with store.blobs.draft(read_chunks(path), size) as draft:
            store.blobs.place(draft)
            return draft.digest
    return digest


async def upload(
    store: Store,
    digest: str,
    chunks: AsyncIterable[bytes],
    *,
    size: int = 0,
    max_bytes: int = MAX_BLOB_BYTES,
) -> bool:
    """Take a blob in; False if it was there, and then nothing of `chunks` is read.

    `size` is what the client says it will send, 0 if it does not say. Nothing is left of
    one that is cancelled or fails. Raises `InvalidRequest` if it is not what the digest
    says, `PayloadTooLarge`, `StorageFull`, or `ServerError`.
    """
    digest = parse_digest(digest)
    if await keep_blob(store, digest):
        return False
    if size > max_bytes:
        raise _too_large(max_bytes)
    await asyncio.to_thread(store.private_folder)
    async with locks.shared(store.writers_lock):
        with store.blobs.writer(size) as writer:
            await _write(writer, chunks, max_bytes)
            with storage_errors(store.root):
                draft = await asyncio.to_thread(writer.finish)
            if draft.digest != digest:
                raise InvalidRequest(f'digest mismatch, expected "{digest}", got "{draft.digest}"')
            await asyncio.to_thread(store.blobs.place, draft)
    return True


async def _write(writer: Writer, chunks: AsyncIterable[bytes], max_bytes: int) -> None:
    """Write in large pieces: each goes to a thread."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if writer.written + len(waiting) > max_bytes:
            raise _too_large(max_bytes)
        if len(waiting) >= CHUNK_BYTES:
            await _append(writer, waiting)
            waiting.clear()
    await _append(writer, waiting)


async def _append(writer: Writer, data: bytearray) -> None:
    with storage_errors(writer.path.parent):
        await asyncio.to_thread(writer.write, bytes(data))


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"a blob may have {max_bytes} bytes")
