"""The folder of a run: one run at a time works in it, and may be gone on with there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import filelock
import msgspec

from toolkit import paths
from toolkit.automation.artefacts import clean_value
from toolkit.deploy.keyfile import unwritable
from toolkit.errors import UsageError

RESULT = "result.json"
WORKER_LOG = "worker.log"
_LOCK = ".lock"


class RunError(msgspec.Struct, frozen=True):
    """Why a run failed: a class, a sentence, a next step, and the code cell, from 1."""

    name: str
    message: str
    hint: str = ""
    cell: int | None = None


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run went; this is `result.json`. `closed` names what a failed run ended; `attempt`
    counts how often it was begun, the first included."""

    schema: Literal[1] = 1
    run_id: str
    attempt: int = 1
    notebook: str
    status: Literal["running", "ok", "failed", "interrupted"]
    exit_code: int | None = None
    error: RunError | None = None
    parameters: dict[str, Any]
    scraps: dict[str, Any] = {}
    started_at: datetime
    elapsed_s: float = 0.0
    folder: str
    output: str
    closed: tuple[str, ...] = ()


def run_folder(out: Path | None, notebook: Path, started: datetime) -> Path:
    """The folder of this run alone: `out`, or a new one among the runs."""
    try:
        if out is not None:
            folder = out.expanduser().resolve()
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        return _new_folder(paths.runs() / f"{started:%Y%m%dT%H%M%SZ}-{notebook.stem}")
    except OSError as error:
        raise unwritable(error) from None


def _new_folder(base: Path) -> Path:
    base.parent.mkdir(parents=True, exist_ok=True)
    folder, number = base, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = base.with_name(f"{base.name}-{number}")


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder. Raises `UsageError` if one is at work in it."""
    lock = filelock.FileLock(folder / _LOCK, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UsageError(
            f"another run is at work in {folder}", hint="Wait for its end, or give another --out."
        ) from None
    except OSError as error:
        raise unwritable(error) from None
    try:
        yield
    finally:
        lock.release()


def earlier_run(folder: Path, notebook: Path, parameters: dict[str, Any]) -> RunResult | None:
    """The run in this folder that is to be gone on with; None if there is none.

    Raises `UsageError` if it was one of another notebook, or with other parameters.
    """
    try:
        found = msgspec.json.decode((folder / RESULT).read_bytes(), type=RunResult)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError):
        raise UsageError(
            f"the {RESULT} in {folder} is none of a run", hint="Give another --out."
        ) from None
    if Path(found.notebook) != notebook:
        raise UsageError(
            f"the run in {folder} is one of {Path(found.notebook).stem}",
            hint="Give another --out, or name that notebook.",
        )
    # As they are written: without secrets, and in the types of JSON.
    given = msgspec.to_builtins(clean_value(parameters))
    names = sorted(given.keys() | found.parameters.keys())
    if other := [name for name in names if given.get(name) != found.parameters.get(name)]:
        raise UsageError(
            f"the run in {folder} was begun with other parameters: {', '.join(other)}",
            hint="Give the same ones, or another --out.",
        )
    # It may have been moved here from elsewhere.
    output = str(folder / Path(found.output).name)
    return msgspec.structs.replace(found, folder=str(folder), output=output)


def set_aside(folder: Path, before: RunResult) -> None:
    """Keep what an earlier attempt left in the folder: its notebook, its log and its result."""
    kept = folder / f"attempt-{before.attempt}"
    kept.mkdir(exist_ok=True)
    for path in (folder / Path(before.output).name, folder / WORKER_LOG):
        if path.exists():
            path.replace(kept / path.name)
    # Copied: it says that there was a run until the next attempt says so.
    shutil.copyfile(folder / RESULT, kept / RESULT)
