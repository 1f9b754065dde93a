"""Headers of model files, read once and remembered beside the store.

The key is the file's name, size and time of change, so a file that is cut or
replaced later is read again. A store that cannot be written to works as well: then
they are remembered by the process only.
"""

import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from server.errors import ModelUnusable
from server.models.files import replace_file
from server.models.gguf import GGUFHeader, read_header

MAX_KNOWN = 256  # headers that a process keeps; more are read from beside the store
VERSION = 1  # of the remembered form: a change of `GGUFHeader` or of the checks makes a new one

_Key = tuple[str, int, int]


class _Entry(msgspec.Struct, frozen=True):
    version: int
    size: int
    modified_ns: int
    header: GGUFHeader


class Headers:
    """Headers by file, remembered in `folder`. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[_Key, GGUFHeader | ModelUnusable] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> GGUFHeader:
        """The header of a file. Raises `ModelUnusable` like `read_header`."""
        try:
            status = path.stat()
        except OSError:
            return read_header(path)  # which says what is wrong
        key = (path.name, status.st_size, status.st_mtime_ns)
        known = self._look_up(key) or self._recall(key) or self._study(path, key)
        self._keep(key, known)
        if isinstance(known, ModelUnusable):
            raise ModelUnusable(known.message, hint=known.hint)
        return known

    def _look_up(self, key: _Key) -> GGUFHeader | ModelUnusable | None:
        with self._lock:
            return self._known.get(key)

    def _keep(self, key: _Key, known: GGUFHeader | ModelUnusable) -> None:
        """Keep it as the last one used; the first one goes if there are too many."""
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = known
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def _recall(self, key: _Key) -> GGUFHeader | None:
        name, size, modified_ns = key
        try:
            data = (self._folder / f"{name}.json").read_bytes()
            entry = msgspec.json.decode(data, type=_Entry)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        current = (entry.version, entry.size, entry.modified_ns) == (VERSION, size, modified_ns)
        return entry.header if current else None

    def _study(self, path: Path, key: _Key) -> GGUFHeader | ModelUnusable:
        try:
            header = read_header(path)
        except ModelUnusable as error:
            return error
        self._remember(header, key)
        return header

    def _remember(self, header: GGUFHeader, key: _Key) -> None:
        name, size, modified_ns = key
        entry = _Entry(VERSION, size, modified_ns, header)
        with suppress(OSError):  # only a cache: a store may be read-only
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / f"{name}.json", msgspec.json.encode(entry))

    def forget_all_but(self, names: Collection[str]) -> None:
        """Drop what is remembered of other files than these."""
        for path in self._folder.glob("*.json"):
            if path.stem not in names:
                self.forget(path.stem)

    def forget(self, name: str) -> None:
        """Drop what is remembered of a file that is gone."""
        with self._lock:
            for key in [key for key in self._known if key[0] == name]:
                del self._known[key]
        with suppress(OSError):
            (self._folder / f"{name}.json").unlink(missing_ok=True)
