"""From an SDL to processes of this machine: which images are known, and what they get.

Pure. An SDL may come from anywhere, so nothing in it is ever run: the image only picks
a row of a table, and of the environment only what that row knows is handed on. An engine
behind our server gets no more than values that were read and checked (`engines`).
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from toolkit.deploy.engines.base import EngineJob, ignored
from toolkit.deploy.pairs import OWN_ENGINE, services_of
from toolkit.errors import ConfigError
from toolkit.sdl.advice import repository
from toolkit.sdl.model import SDL, Service

# What a server of ours may be told by an SDL. Host, port, state folder and where an upstream
# answers are the target's business.
SERVER_ENVIRONMENT = frozenset(
    {
        "AKASH_LLM_BATCH",
        "AKASH_LLM_BATCH_THREADS",
        "AKASH_LLM_BODY_MEMORY",
        "AKASH_LLM_BODY_TIMEOUT",
        "AKASH_LLM_CACHE_TYPE_K",
        "AKASH_LLM_CACHE_TYPE_V",
        "AKASH_LLM_CONTEXT",
        "AKASH_LLM_DRAIN",
        "AKASH_LLM_ENGINE",
        "AKASH_LLM_FLASH_ATTENTION",
        "AKASH_LLM_GPU_LAYERS",
        "AKASH_LLM_HEADER_TIMEOUT",
        "AKASH_LLM_HEARTBEAT",
        "AKASH_LLM_IDLE_TIMEOUT",
        "AKASH_LLM_KEEP_ALIVE",
        "AKASH_LLM_KEYS",
        "AKASH_LLM_KEY_LIMITS",
        "AKASH_LLM_MAIN_GPU",
        "AKASH_LLM_MANAGEMENT",
        "AKASH_LLM_MAX_BODY_BYTES",
        "AKASH_LLM_MAX_CONNECTIONS",
        "AKASH_LLM_MAX_LOADED",
        "AKASH_LLM_MAX_QUEUE",
        "AKASH_LLM_MEMORY",
        "AKASH_LLM_MICRO_BATCH",
        "AKASH_LLM_MLOCK",
        "AKASH_LLM_MMAP",
        "AKASH_LLM_MODELS",
        "AKASH_LLM_ORIGINS",
        "AKASH_LLM_PARALLEL",
        "AKASH_LLM_PARKING",
        "AKASH_LLM_POOL",
        "AKASH_LLM_PRELOAD",
        "AKASH_LLM_PRUNE",
        "AKASH_LLM_PULL",
        "AKASH_LLM_REGISTRIES",
        "AKASH_LLM_REQUANTIZE",
        "AKASH_LLM_SHARE_PREFIXES",
        "AKASH_LLM_SPECULATE",
        "AKASH_LLM_SPLIT_MODE",
        "AKASH_LLM_SWA_FULL",
        "AKASH_LLM_TENSOR_SPLIT",
        "AKASH_LLM_THREADS",
        "AKASH_LLM_UPSTREAM_TIMEOUT",
        "AKASH_LLM_USAGE_DAYS",
        "AKASH_LLM_WRITE_TIMEOUT",
    }
)
FIXED = frozenset(
    {
        "AKASH_LLM_HOST",
        "AKASH_LLM_PORT",
        "AKASH_LLM_STATE",
        "AKASH_LLM_UPSTREAM",
        "AKASH_LLM_UPSTREAM_KEY",
    }
)

_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Program(msgspec.Struct, frozen=True):
    """What stands for an image on this machine."""

    argv: tuple[str, ...]
    environment: frozenset[str] = SERVER_ENVIRONMENT


class Job(msgspec.Struct, frozen=True):
    """A service, ready to be started: `mounts` are paths in the container to here."""

    service: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mapping[str, Path]
    notices: tuple[str, ...]


class Jobs(msgspec.Struct, frozen=True):
    """Our server, and the engine behind it, if it has one."""

    server: Job
    engine: EngineJob | None = None

    @property
    def engine_name(self) -> str:
        """What runs the models."""
        return self.engine.engine if self.engine else OWN_ENGINE

    @property
    def notices(self) -> tuple[str, ...]:
        """What was ignored, of both."""
        return self.server.notices + (self.engine.notices if self.engine else ())


def jobs_of(sdl: SDL, programs: Mapping[str, Program], mounts: Path, model: str) -> Jobs:
    """The services of the SDL as jobs, with what was ignored of them as notices.

    `programs` is keyed by the last part of an image's repository; `model` is what the person
    asked for. Raises `ConfigError` for another image, for services that do not belong
    together, for volume names that are no names, and for values that cannot be meant.
    """
    found = services_of(sdl)
    server = _server_job(sdl, found.name, found.service, programs, mounts)
    if found.engine is None:
        return Jobs(server)
    service = sdl.services[found.engine_name]
    engine = found.engine.job(found.engine_name, service, model)
    notices = (*engine.notices, *_replicas(sdl, found.engine_name))
    # Under the name that the engine serves it by, and no other.
    environment = {**server.environment, "AKASH_LLM_PRELOAD": engine.serves}
    return Jobs(
        msgspec.structs.replace(server, environment=environment),
        msgspec.structs.replace(engine, notices=notices),
    )


def _server_job(
    sdl: SDL, name: str, service: Service, programs: Mapping[str, Program], mounts: Path
) -> Job:
    program = _program(service.image, programs)
    places = _mounts(service, mounts)
    given = service.environment
    environment = {
        key: _rewritten(value, places) for key, value in given.items() if key in program.environment
    }
    return Job(name, program.argv, environment, places, _notices(sdl, name, service, program))


def _program(image: str, programs: Mapping[str, Program]) -> Program:
    program = programs.get(repository(image))
    if program is None:
        raise ConfigError(
            f"the image {image!r} is not known on this machine",
            hint=f"Known here: {', '.join(sorted(programs))}. Nothing else is ever run.",
        )
    return program


def _mounts(service: Service, folder: Path) -> dict[str, Path]:
    places = {}
    for volume, mount in service.mounts.items():
        if not _VOLUME.fullmatch(volume):
            raise ConfigError(f"{volume!r} cannot name a volume", hint="Letters, digits, - and _.")
        if mount.mount:
            places[mount.mount] = folder / volume
    return places


def _rewritten(value: str, mounts: Mapping[str, Path]) -> str:
    """A value that is a path below a mount becomes the path here."""
    for inside, outside in mounts.items():
        path = PurePosixPath(value)
        if path.is_relative_to(inside) and ".." not in path.parts:
            return str(outside / path.relative_to(inside))
    return value


def _notices(sdl: SDL, name: str, service: Service, program: Program) -> tuple[str, ...]:
    left_out = [key for key in ("command", "args", "credentials") if getattr(service, key)]
    left_out += sorted(set(service.environment) - program.environment - FIXED)
    return (*(ignored(name, key) for key in left_out), *_replicas(sdl, name))


def _replicas(sdl: SDL, name: str) -> tuple[str, ...]:
    copies = sum(a.count for service_name, _, a in sdl.allocations() if service_name == name)
    return (f"{name}: one of {copies} replicas runs on this machine",) if copies > 1 else ()
