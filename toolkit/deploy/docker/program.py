"""The `docker` program: called word by word, without a shell, and each call has an end.

What it says is hostile: registries and containers write into it. It is bounded here, and
cleaned before anyone sees it.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from toolkit.errors import ConfigError, EndpointError
from toolkit.safetext import cleaned

LOOK_S: Final = 20.0  # a daemon that lives answers at once
QUIT_S: Final = 5.0
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_LINE_BYTES: Final = 64 * 1024
SHOWN_LINES: Final = 15
SHOWN_CHARACTERS: Final = 400

NO_VARIABLES: Final[Mapping[str, str]] = {}
# Ours may be secrets, and Compose's would choose another file or project.
_LEFT_OUT: Final = ("AKASH_", "COMPOSE_")
_HERE: Final = ("unix://", "npipe://", "fd://")


class Said(msgspec.Struct, frozen=True):
    """How a call ended, and the ends of what it wrote."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last lines of its complaint, for people."""
        lines = [line.strip() for line in cleaned(self.err).splitlines() if line.strip()]
        shown = [line[:SHOWN_CHARACTERS] for line in lines[-SHOWN_LINES:]]
        return "\n".join(f"  {line}" for line in shown) or "  (it gave no reason)"


class Machine(msgspec.Struct, frozen=True):
    """What containers can have."""

    cpus: int
    memory_bytes: int


class Docker:
    """Calls of the program at `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def call(
        self, *words: str, within_s: float = LOOK_S, variables: Mapping[str, str] = NO_VARIABLES
    ) -> Said:
        """Run it to its end. `variables` come on top of the environment.

        `EndpointError` if that takes longer than `within_s`; then, and when this is cancelled,
        it is ended.
        """
        process = await self._start(words, variables, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(within_s):
                out, err = await asyncio.gather(_end_of(process.stdout), _end_of(process.stderr))
                code = await process.wait()
        except TimeoutError:
            raise _silent(words, within_s) from None
        finally:
            await _quit(process)
        return Said(code, out, err)

    async def lines(self, *words: str, silence_s: float | None = None) -> AsyncGenerator[str, None]:
        """What it writes, cleaned, line by line, until it ends. It ends with the iterator.

        `EndpointError` after `silence_s` without a word, None for where there may be none.
        """
        process = await self._start(words, NO_VARIABLES, asyncio.subprocess.STDOUT)
        rest = b""
        try:
            while data := await _soon(process.stdout, silence_s, words):
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield _text(line)
                if len(rest) > MOST_LINE_BYTES:
                    yield _text(rest)
                    rest = b""
            if rest:
                yield _text(rest)
        finally:
            await _quit(process)

    async def _start(
        self, words: tuple[str, ...], variables: Mapping[str, str], errors: int
    ) -> asyncio.subprocess.Process:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_LEFT_OUT)}
        try:
            return await asyncio.create_subprocess_exec(
                self.path,
                *words,
                env={**kept, **variables},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                # Its plugins are its children: all are ended at once, and by us alone.
                start_new_session=True,
            )
        except OSError as error:
            raise _absent(f"{self.path} cannot be started: {error.strerror}") from None


async def find() -> tuple[Docker, Machine]:
    """Docker as it can be used: with Compose, a daemon that answers, on this machine.

    `ConfigError` with the reason otherwise.
    """
    path = shutil.which("docker")
    if path is None:
        raise _absent("there is no program `docker`")
    docker = Docker(path)
    try:
        async with asyncio.timeout(LOOK_S):
            return docker, await _looked_at(docker)
    except TimeoutError:
        raise _absent(f"it did not answer within {LOOK_S:.0f} s") from None


async def _looked_at(docker: Docker) -> Machine:
    if (await docker.call("compose", "version", "--short")).code:
        raise _absent("its plugin `compose` is missing")
    context = await docker.call("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    host = cleaned(context.out).strip()
    if context.code or not host.startswith(_HERE):
        raise _absent(f"it is set to another machine, {host[:200]!r}")
    said = await docker.call("info", "--format", "{{json .}}")
    try:
        info = msgspec.json.decode(said.out, type=_Info)
    except msgspec.MsgspecError:
        info = _Info()
    if said.code or info.errors or not info.cpus:
        why = cleaned(" ".join(info.errors) or said.err).strip()
        raise _absent(f"its daemon does not answer: {why[:SHOWN_CHARACTERS]}")
    return Machine(info.cpus, info.memory_bytes)


class _Info(msgspec.Struct, rename={"cpus": "NCPU", "memory_bytes": "MemTotal"}):
    cpus: int = 0
    memory_bytes: int = 0
    # It ends with 0 without a daemon, too.
    errors: list[str] = msgspec.field(name="ServerErrors", default_factory=list)


def _absent(why: str) -> ConfigError:
    return ConfigError(
        f"Docker with Compose cannot be used here: {why}.",
        hint="Install it (docs.docker.com/engine/install) and start it; `docker info` and"
        " `docker compose version` have to answer.",
    )


async def _end_of(stream: asyncio.StreamReader | None) -> str:
    """The end of what is written there."""
    data = bytearray()
    while some := await _some(stream):
        data += some
        del data[:-MOST_BYTES]
    return data.decode("utf-8", "replace")


async def _soon(
    stream: asyncio.StreamReader | None, within_s: float | None, words: tuple[str, ...]
) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            return await _some(stream)
    except TimeoutError:
        raise _silent(words, within_s or 0) from None


def _silent(words: tuple[str, ...], within_s: float) -> EndpointError:
    return EndpointError(
        f"`docker {' '.join(words)[:SHOWN_CHARACTERS]}` did not end within {within_s:.0f} s.",
        hint="See whether Docker answers: docker info",
    )


async def _some(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read(MOST_LINE_BYTES)


async def _quit(process: asyncio.subprocess.Process) -> None:
    """End it and its children, if it has not ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIT_S):
                await process.wait()


def _text(line: bytes) -> str:
    return cleaned(line.decode("utf-8", "replace").rstrip("\r"))
