"""Ollama on this machine: `ollama serve` over the same model store as our own engine's."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from toolkit import paths
from toolkit.deploy.base import Intent, Resource
from toolkit.deploy.engines.base import EngineJob, Launch, Place, ignored
from toolkit.deploy.needs import (
    Needs,
    context_resource,
    is_obtainable,
    make_available,
    needs_of,
)
from toolkit.errors import ConfigError
from toolkit.sdl.model import Service

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_DURATION: Final = re.compile(r"-?[0-9]{1,6}(ms|s|m|h)?")
# What an SDL may say, and of which form it is.
_KNOWN: Final[Mapping[str, re.Pattern[str]]] = {
    "OLLAMA_CONTEXT_LENGTH": _WHOLE,
    "OLLAMA_FLASH_ATTENTION": re.compile("0|1|true|false"),
    "OLLAMA_KEEP_ALIVE": _DURATION,
    "OLLAMA_KV_CACHE_TYPE": re.compile("f16|q8_0|q4_0"),
    "OLLAMA_LOAD_TIMEOUT": _DURATION,
    "OLLAMA_MAX_LOADED_MODELS": _WHOLE,
    "OLLAMA_MAX_QUEUE": _WHOLE,
    "OLLAMA_NUM_PARALLEL": _WHOLE,
}
_FIXED: Final = frozenset({"OLLAMA_HOST", "OLLAMA_MODELS"})
_OPEN: Final = (
    "Ollama knows no keys: other users of this machine can reach it past our server, on a port"
    " of 127.0.0.1, as long as it runs."
)


class Ollama:
    """See `LocalEngine`."""

    name = "ollama"
    image = "ollama"
    has_keys = False
    takes_socket = False
    usual_load_s = 10.0
    how_to_get = "Get it from ollama.com."

    async def needs(self, intent: Intent, program: Path) -> Needs:
        if await asyncio.to_thread(is_obtainable, intent.model):
            return await asyncio.to_thread(needs_of, intent)
        resources = (
            Resource("model", intent.model, "it is not here yet, so its size is not known"),
            context_resource(intent),
        )
        notice = f"Ollama will pull {intent.model} from its registry."
        return Needs(intent, "2Gi", resources, (notice,))

    def job(self, name: str, service: Service, model: str) -> EngineJob:
        given = service.environment
        environment = {key: value for key, value in given.items() if key in _KNOWN}
        for key, value in environment.items():
            if not _KNOWN[key].fullmatch(value):
                raise ConfigError(
                    f"{key} of the SDL cannot be {value[:60]!r}",
                    hint="Write a value of its kind, or leave it out.",
                )
        return EngineJob(
            service=name,
            engine=self.name,
            environment=environment,
            serves=model,
            notices=(*(ignored(name, what) for what in _ignored(service)), _OPEN),
        )

    async def prepare(self, intent: Intent, report: Callable[[str], None]) -> None:
        if await asyncio.to_thread(is_obtainable, intent.model):
            await make_available(intent, report)
        else:
            report(f"Ollama pulls {intent.model}; that may take long")

    async def launch(self, job: EngineJob, program: Path, place: Place, intent: Intent) -> Launch:
        environment = {
            **job.environment,
            "OLLAMA_HOST": f"{place.host}:{place.port}",
            "OLLAMA_MODELS": str(paths.models()),
            "OLLAMA_NOPRUNE": "1",  # the store is not its own: half of a pull may be another's
        }
        return Launch((str(program), "serve"), environment)


def _ignored(service: Service) -> list[str]:
    parts = ["command"] if service.command else []
    if service.args and service.args != ("serve",):
        parts.append("args")
    if service.credentials:
        parts.append("credentials")
    return parts + [key[:60] for key in sorted(set(service.environment) - _FIXED - set(_KNOWN))]
