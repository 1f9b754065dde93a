"""The folder of an endpoint on this machine.

endpoints/<name>/
├── api.key            the key, mode 0600
├── deploy.yaml        the SDL as deployed
├── logs/<time>.log    one file per start; <time>.engine.log of an engine behind the server
├── state/state.db     keys made later and usage, kept by the server
├── engine.sock        where an engine behind the server listens, if it can
├── mounts/<volume>    what stands for the volumes; the models' is a link to the store
└── .lock              held by whoever works on the name
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from toolkit import paths
from toolkit.deploy.base import Record
from toolkit.deploy.services import Job

MODELS_MOUNT = "/models"
# Systems take a path of 103 bytes for a socket, and none that is much longer.
_LONGEST_SOCKET = 100


def mounts(name: str) -> Path:
    """Where the volumes of an endpoint lie."""
    return paths.endpoint(name) / "mounts"


def prepare(record: Record, job: Job) -> None:
    """Make the folder with all that the process needs. May be repeated."""
    folder = paths.endpoint(record.name)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "deploy.yaml").write_text(record.sdl, encoding="utf-8")
    for inside, outside in job.mounts.items():
        outside.parent.mkdir(parents=True, exist_ok=True)
        if inside != MODELS_MOUNT:
            outside.mkdir(exist_ok=True)
        elif not outside.is_symlink() or outside.readlink() != paths.models():
            outside.unlink(missing_ok=True)
            outside.symlink_to(paths.models(), target_is_directory=True)


def new_socket(name: str) -> Path | None:
    """Where nothing listens yet; None where the folder has too long a path."""
    path = paths.endpoint(name) / "engine.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        return None
    path.unlink(missing_ok=True)
    return path


def new_logs(record: Record) -> tuple[Path, Path]:
    """Log files for one start: the server's, and that of an engine behind it."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    logs = paths.endpoint(record.name) / "logs"
    return logs / f"{now}.log", logs / f"{now}.engine.log"
