"""The outcome of a benchmark as a file: schema 1, JSON, raw records included.

Texts are in it only if that was asked for. A result says what it was measured on, so
that two of them can be told comparable or not.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Self

import msgspec

from server.models.files import replace_file
from toolkit import jsontext
from toolkit.bench.config import BenchConfig
from toolkit.bench.records import Level, RequestRecord
from toolkit.bench.summary import Summary
from toolkit.errors import ConfigError, SLOMissed, UsageError
from toolkit.safetext import well_formed


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: as the endpoint told it, and as the ledger knows it.

    `slots` is how many requests it computes at once. `hardware`, `provider` and `region` are
    where it runs, as far as is known.
    """

    name: str
    url: str
    model: str
    target: str = ""
    api: str = ""
    server_version: str = ""
    engine: str = ""
    model_digest: str = ""
    quantization: str = ""
    parameter_size: str = ""
    context: int | None = None
    slots: int | None = None
    hardware: str = ""
    provider: str = ""
    region: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run, or what there was of it when it was stopped (`complete` False).

    `warmup` are the requests before all levels, in no figure. `client` names the program
    and the machine's system that measured; `ended_by` says what ended the run early.
    """

    schema: Literal[1] = 1
    created_at: str
    client: str = ""
    complete: bool
    ended_by: str = ""
    subject: Subject
    config: BenchConfig
    workload_digest: str
    remarks: tuple[str, ...] = ()
    warmup: tuple[RequestRecord, ...] = ()
    levels: tuple[Level, ...]
    summaries: tuple[Summary, ...]

    @property
    def has_errors(self) -> bool:
        """Whether any request failed."""
        return any(summary.errors for summary in self.summaries)

    @property
    def has_missed(self) -> bool:
        """Whether an objective was missed: by any level, or of a sweep by all of them, which
        goes on until one does."""
        if not self.config.slos:
            return False
        if self.config.sweep is not None:
            return not any(summary.is_good for summary in self.summaries)
        return any(not verdict.is_met for s in self.summaries for verdict in s.verdicts)

    def checked(self) -> Self:
        """Itself, for notebooks that gate something. Raises `SLOMissed` where `has_missed`."""
        if self.has_missed:
            missed = {v.slo: None for s in self.summaries for v in s.verdicts if not v.is_met}
            raise SLOMissed(
                f"The endpoint misses {', '.join(missed) or 'its objectives'}.",
                hint="The report says at which load, and by how much.",
            )
        return self

    def to_json(self) -> str:
        """The file's content."""
        return msgspec.json.format(jsontext.encoded(self), indent=1).decode()

    def save(self, path: Path) -> None:
        """Write the file, its folder too. Raises `ConfigError` where that cannot be done."""
        write(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote. Raises `UsageError` for another one."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read: {error.strerror}.", hint="Give the name of a result."
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path} is not a benchmark result: {error}",
                hint="Give a file that akash-llm bench run --out NAME.json wrote.",
            ) from error


def write(path: Path, text: str) -> None:
    """Write a file as a whole: never half of it where another was."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, well_formed(text).encode())


def check_writable(path: Path) -> None:
    """Raises `ConfigError` where `write` could not write; the file itself stays as it is."""
    with _told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.is_mount():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        with suppress(FileNotFoundError):  # a name too long is told of
            path.lstat()
        # Only trying tells: permissions say nothing of a disk that takes no more.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:60]}-"):
            pass


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk refuses, in our words."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint="Give another place."
        ) from error
