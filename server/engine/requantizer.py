"""Weights in another type than their file's, made once and kept: `--requantize`.

llama.cpp repacks only some types for the wide registers of a CPU; in those it computes
several times as fast. The files lie in a folder of their own and are called by what was
made from what and by which version, so the same weights are never rewritten twice.
"""

import asyncio
import logging
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

import filelock
import msgspec

from server.engine.config import WeightType
from server.errors import LoadFailed
from server.models.files import (
    check_space,
    replace_file,
    sha256_of,
    storage_errors,
    sync_folder,
)
from server.models.ggml import BLOCKS
from server.models.gguf import GGUFHeader, Tensor, read_header
from server.models.model_files import ModelFiles
from server.models.splits import read_weights, read_whole

_log = logging.getLogger("akash_llm.requantize")

_BLOB = re.compile(r"sha256-([0-9a-f]{64})(-00001-of-\d{5}\.gguf)?")
_BLOCKS = {block.name: block for block in BLOCKS.values()}
_IN_8_BITS = ("output.weight", "token_embd.weight", "per_layer_token_embd.weight")

# Given up after this and a second per so many bytes; two cores do fifty times as many.
_PATIENCE_S = 60.0
_SLOWEST_BYTES_PER_S = 4e6

_HINT = "start the server without --requantize, or with another type"


class _Made(msgspec.Struct, frozen=True):
    """What a file was when it was complete: one that was cut or changed since is another."""

    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "_Made":
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


class Requantizer:
    """Rewrites weights as `kind` and keeps them in `folder`, which need not exist.

    `threads` 0 chooses as the engine does.
    """

    def __init__(self, folder: Path, kind: WeightType, *, threads: int = 0) -> None:
        self._folder = folder
        self._kind = kind
        self._level = kind.upper()
        self._threads = threads

    def type_for(self, header: GGUFHeader) -> str:
        """What weights with this header become, such as "Q8_0"; empty if they are it already."""
        return "" if header.quantization_level == self._level else self._level

    def size(self, weights: Path, header: GGUFHeader) -> int:
        """The bytes of the weights that are loaded for this file, or a few more. Blocks.
        Raises `ModelUnusable`."""
        if not self.type_for(header):
            return header.file_size
        return self._size(read_whole(weights))

    async def prepare(self, files: ModelFiles) -> ModelFiles:
        """The same model with the weights to load; makes them if that was not done before.

        Cancelling ends the work and leaves nothing behind. Raises `ModelUnusable`,
        `StorageFull`, `LoadFailed`, or `ServerError` if the folder cannot be written to.
        """
        source = files.weights
        header = await asyncio.to_thread(read_weights, source)
        if not self.type_for(header):
            _log.info("the weights are %s already", self._level)
            return files
        target = await asyncio.to_thread(self._path, source)
        if not await asyncio.to_thread(_is_sound, target):
            await self._make(source, target)
        return msgspec.structs.replace(files, weights=target)

    def _path(self, source: Path) -> Path:
        made_by = f"llama-cpp-python-{version('llama-cpp-python')}"
        return self._folder / f"{_sha256(source)}-{self._kind}-{made_by}.gguf"

    async def _make(self, source: Path, target: Path) -> None:
        with storage_errors(self._folder):
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            # One at a time, in whatever process: each takes all cores.
            lock = filelock.AsyncFileLock(self._folder / "lock")
            await lock.acquire()
        try:
            if not await asyncio.to_thread(_is_sound, target):
                await self._make_locked(source, target)
        finally:
            await lock.release()

    async def _make_locked(self, source: Path, target: Path) -> None:
        header = await asyncio.to_thread(read_whole, source)
        await asyncio.to_thread(self._make_room, header, target)
        part = target.with_suffix(".part")
        begun_s = time.monotonic()
        try:
            await self._rewrite(source, part, header)
            new = await asyncio.to_thread(self._keep, part, target)
        finally:
            part.unlink(missing_ok=True)
        fields = {
            "weights": source.name,
            "type": header.quantization_level,
            "bytes": header.file_size,
            "new_type": new.quantization_level,
            "new_bytes": new.file_size,
            "seconds": round(time.monotonic() - begun_s, 2),
        }
        _log.info("weights requantized", extra={"fields": fields})

    def _make_room(self, header: GGUFHeader, target: Path) -> None:
        """Check what can be, drop what a killed server or an older version left."""
        width = header.embedding_length
        block = _BLOCKS[self._level]
        if width % block.elements:
            raise LoadFailed(
                f"the weights cannot be requantized to {self._kind}: their rows of {width} "
                f"numbers are not whole blocks of {block.elements}",
                hint=_HINT,
            )
        with storage_errors(self._folder):
            versions = target.name.partition("-llama-cpp")[0]
            for old in [*self._folder.glob("*.part"), *self._folder.glob(f"{versions}-*")]:
                old.unlink(missing_ok=True)
            check_space(self._folder, self._size(header))

    def _size(self, header: GGUFHeader) -> int:
        """The bytes of the new file, or a few more."""
        rest = header.file_size - sum(tensor.size_bytes for tensor in header.tensors)
        return rest + sum(map(self._new_size, header.tensors))

    def _new_size(self, tensor: Tensor) -> int:
        if len(tensor.shape) < 2:
            return tensor.size_bytes
        block = _BLOCKS["Q8_0" if tensor.name in _IN_8_BITS else self._level]
        return -(-tensor.elements // block.elements) * block.size_bytes

    async def _rewrite(self, source: Path, part: Path, header: GGUFHeader) -> None:
        _log.info("requantizing weights from %s to %s", header.quantization_level, self._level)
        patience_s = patience_for(header.file_size)
        code, reason = await run_module(
            *("server.engine.quantize", str(source), str(part), self._kind, str(self._threads)),
            patience_s=patience_s,
        )
        if code:
            check_space(self._folder, 0)  # a full disk is why, more often than not
            raise LoadFailed(
                f"the weights cannot be requantized to {self._kind}: "
                f"{reason or 'the process that does it ended unexpectedly'}",
                hint=_HINT,
            )

    def _keep(self, part: Path, target: Path) -> GGUFHeader:
        """Give a complete file its name, then say that it is complete."""
        header = read_header(part, label="the requantized file")
        with storage_errors(self._folder):
            part.rename(target)
            sync_folder(self._folder)
            note = msgspec.json.encode(_Made.of(target))
            replace_file(target.with_suffix(".json"), note)
        return header


def patience_for(size: int) -> float:
    """Seconds after which rewriting so many bytes is given up."""
    return _PATIENCE_S + size / _SLOWEST_BYTES_PER_S


async def run_module(module: str, *args: str, patience_s: float) -> tuple[int, str]:
    """Run a module in a process; its exit code and what it printed. Cancelling kills it, and so
    does waiting for longer than `patience_s`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *args),
        stdin=asyncio.subprocess.PIPE,  # when it closes, the process knows that it is alone
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(patience_s):
            text = await process.stdout.read() if process.stdout else b""
            return await process.wait(), text.decode(errors="replace")
    except TimeoutError:
        return 1, f"it was not done within {patience_s:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _sha256(path: Path) -> str:
    """What is in a file: a blob of the store is called by it, others are read."""
    if blob := _BLOB.fullmatch(path.name):
        return blob[1]
    return sha256_of(path)


def _is_sound(target: Path) -> bool:
    """Whether the file is there as it was made."""
    try:
        made = msgspec.json.decode(target.with_suffix(".json").read_bytes(), type=_Made)
        return made == _Made.of(target)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
