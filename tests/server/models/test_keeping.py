"""Keeping the store in order: uploads, copies, verification, garbage, remembered headers."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.errors import InvalidRequest, ModelNotFound, ModelUnusable, PayloadTooLarge, StorageFull
from server.models import files, headers, locks, verification
from server.models.extras import Extras
from server.models.garbage import Collected, collect
from server.models.gguf import GGUFHeader, read_header
from server.models.headers import Headers
from server.models.manifest import digest_of
from server.models.name import InvalidModelName
from server.models.store import Store
from server.models.uploads import keep_blob, upload
from server.models.verification import verify
from tests.support.gguf_files import write_model
from tests.support.ollama_store import blob_names

DATA = b"data of a blob" * 100_000
DIGEST = digest_of(DATA)


async def chunks(data: bytes = DATA, step: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


@pytest.fixture
def stocked(store: Store, tmp_path: Path) -> Store:
    """A store with the models `a` and `b`, which share their weights."""
    path = write_model(tmp_path / "m.gguf")
    store.add_file("a", path, extras=Extras(system="of a"))
    store.add_file("b", path)
    return store


# -- uploads


async def test_blob_is_taken_in_once(store: Store) -> None:
    assert not await keep_blob(store, DIGEST)
    assert not store.root.exists()
    assert await upload(store, DIGEST.replace(":", "-"), chunks(), size=len(DATA))
    assert await keep_blob(store, DIGEST)
    assert store.blobs.path(DIGEST).read_bytes() == DATA
    assert not await upload(store, DIGEST, unread())


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("a blob that is there was sent again")
    yield b""


async def test_blob_that_is_another_is_refused(store: Store) -> None:
    wanted = digest_of(b"something else")
    with pytest.raises(InvalidRequest) as caught:
        await upload(store, wanted, chunks())
    assert caught.value.message == f'digest mismatch, expected "{wanted}", got "{DIGEST}"'
    assert blob_names(store.root) == set()


@pytest.mark.parametrize(
    "digest", ["", "sha256:x", "sha256:../../x", f"md5:{'0' * 64}", f"sha256:{'A' * 64}", "x" * 64]
)
async def test_what_is_no_digest_is_refused(store: Store, digest: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid digest format"):
        await upload(store, digest, chunks())
    with pytest.raises(InvalidRequest, match="invalid digest format"):
        await keep_blob(store, digest)
    assert not store.root.exists()


async def test_blob_has_limits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (0, len(DATA)):
        with pytest.raises(PayloadTooLarge):
            await upload(store, DIGEST, chunks(), size=size, max_bytes=len(DATA) - 1)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageFull):
        await upload(store, DIGEST, chunks(), size=len(DATA))
    assert blob_names(store.root) == set()


async def test_upload_that_is_cut_off_leaves_nothing(store: Store) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield DATA
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(upload(store, DIGEST, endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blob_names(store.root) == set()


# -- copies


def test_copy_is_the_same_model(stocked: Store) -> None:
    stocked.copy("A", "user/c:x")
    assert stocked.get("user/c:x").digest == stocked.get("a").digest
    stocked.remove("a")
    assert stocked.get("user/c:x").problem is None


def test_copy_over_another_takes_its_place(stocked: Store) -> None:
    stocked.copy("b", "A")
    assert {model.name.display() for model in stocked.list()} == {"a:latest", "b:latest"}
    assert stocked.get("a").system is None
    assert not stocked.blobs.path(digest_of(b"of a")).exists()


def test_copy_onto_itself_changes_nothing(stocked: Store) -> None:
    before = stocked.get("a")
    stocked.copy("a", "A")
    assert stocked.get("a") == before


def test_copy_of_what_is_not_there(stocked: Store) -> None:
    with pytest.raises(ModelNotFound, match=r'^model "none" not found$'):
        stocked.copy("none", "c")
    with pytest.raises(InvalidModelName, match=r'^source "../x" is invalid$'):
        stocked.copy("../x", "c")
    with pytest.raises(InvalidModelName, match=r'^destination "" is invalid$'):
        stocked.copy("a", "")


def test_copy_of_a_damaged_model_is_refused(stocked: Store) -> None:
    next((stocked.root / "manifests").rglob("a/latest")).write_bytes(b"{")
    with pytest.raises(ModelUnusable, match="damaged"):
        stocked.copy("a", "c")


# -- verification


def test_every_file_is_looked_at(stocked: Store) -> None:
    seen: list[int] = []
    found = verify(stocked, "a", seen.append)
    assert [(one.kind, one.state) for one in found] == [
        ("application/vnd.docker.container.image.v1+json", "good"),
        ("model", "good"),
        ("system", "good"),
    ]
    assert seen == sorted(seen) and seen[-1] == sum(one.size for one in found)
    _, weights, system = found
    path = stocked.blobs.path(weights.digest)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    stocked.blobs.path(system.digest).unlink()
    assert [one.state for one in verify(stocked, "a")] == ["good", "damaged", "missing"]
    with pytest.raises(ModelNotFound):
        verify(stocked, "none")


async def test_hashing_ends_with_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    ends: list[str] = []

    def endless(path: Path) -> Iterator[bytes]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            begun.set()
            yield b"x"
        ends.append("late")

    monkeypatch.setattr(files, "read_chunks", endless)
    hashing = asyncio.create_task(verification.hashed(tmp_path))
    await asyncio.to_thread(begun.wait, 60)
    hashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hashing
    await asyncio.get_running_loop().shutdown_default_executor()  # as at the end of a process
    assert ends == []


# -- garbage


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_only_what_is_old_and_unused_is_removed(stocked: Store) -> None:
    folder = stocked.blobs.folder
    used = blob_names(stocked.root)
    old, young = (folder / f"sha256-{letter * 64}" for letter in "01")
    other = folder / "sha256-notes.txt"
    partials = [folder / f"sha256-{letter * 64}-partial" for letter in "23"]
    notes = [Path(f"{partial}-0") for partial in partials]
    for path in (old, young, other, *partials, *notes):
        path.write_bytes(b"1234")
    for path in folder.iterdir():
        age(path, 25)
    for path in (young, partials[1]):
        age(path, 23)
    collected = collect(stocked)
    assert collected.num_files == 2
    assert collected.num_bytes >= 4
    left = {young.name, other.name, partials[1].name, notes[1].name}
    assert blob_names(stocked.root) == used | left
    assert collect(stocked) == Collected()


def test_left_overs_of_a_killed_process_are_removed(stocked: Store) -> None:
    manifest = next((stocked.root / "manifests").rglob("a/latest"))
    weights = stocked.get("a").check()[0]
    left = [manifest.with_name(".latest-x1y2"), weights.with_name(f".{weights.name}-partial-0")]
    header = stocked.root / ".akash-llm" / "headers" / f"sha256-{'0' * 64}.json"
    young = manifest.with_name(".latest-young")
    for path in (*left, header, young):
        path.write_bytes(b"12")
    for path in left:
        age(path, 2)
    assert collect(stocked) == Collected(num_files=2, num_bytes=4)
    assert [path.exists() for path in (*left, header, young)] == [False, False, False, True]
    assert all(model.problem is None for model in stocked.list())
    assert len(list(header.parent.iterdir())) == 1


async def test_nothing_is_removed_while_somebody_fills_the_store(stocked: Store) -> None:
    unused = stocked.blobs.folder / f"sha256-{'0' * 64}"
    unused.write_bytes(b"x")
    age(unused, 25)
    async with locks.shared(stocked.writers_lock):
        assert collect(stocked) == Collected(is_busy=True)
    assert collect(stocked).num_files == 1


def test_partial_that_is_being_written_stays(store: Store) -> None:
    store.blobs.folder.mkdir(parents=True)
    partial = store.blobs.folder / f"sha256-{'0' * 64}-partial"
    partial.write_bytes(b"x")
    age(partial, 100)
    handle = os.open(partial, os.O_RDWR)
    assert locks.own(handle, partial)
    assert collect(store) == Collected()
    os.close(handle)
    assert collect(store).num_files == 1


def test_nothing_is_removed_while_a_manifest_is_damaged(stocked: Store) -> None:
    next((stocked.root / "manifests").rglob("a/latest")).write_bytes(b"{")
    with pytest.raises(ModelUnusable, match="nothing is removed"):
        collect(stocked)


def test_store_that_is_not_there_has_no_garbage(store: Store) -> None:
    assert collect(store) == Collected()
    assert not store.root.exists()


# -- headers


def test_headers_are_read_once_and_not_kept_without_end(
    stocked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def count(path: Path) -> GGUFHeader:
        reads.append(path.name)
        return read_header(path)

    monkeypatch.setattr(headers, "read_header", count)
    monkeypatch.setattr(headers, "MAX_KNOWN", 2)
    fresh = Store(stocked.root)
    for _ in range(3):
        assert all(model.problem is None for model in fresh.list())
    assert reads == []  # remembered beside the store by the one that added them
    known = Headers(tmp_path / "nowhere" / "to" / "be")
    (tmp_path / "nowhere").write_bytes(b"")
    paths = [write_model(tmp_path / f"{number}.gguf") for number in range(3)]
    for path in (*paths, paths[2], paths[1], paths[0]):
        known.read(path)
    assert reads == ["0.gguf", "1.gguf", "2.gguf", "0.gguf"]
