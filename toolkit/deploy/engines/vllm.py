"""vLLM on this machine: `vllm serve` with what an SDL may say, and with what the machine needs."""

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from toolkit.deploy.base import Intent
from toolkit.deploy.engines.base import EngineJob, Launch, Place, ignored
from toolkit.deploy.engines.vllm_flags import (
    DTYPE,
    SERVED_NAME,
    TENSOR_PARALLEL,
    as_words,
    read_flags,
)
from toolkit.deploy.engines.vllm_needs import cache_gib, vllm_needs
from toolkit.deploy.engines.weights import check_place, is_hub_name, served_name
from toolkit.deploy.needs import Needs
from toolkit.errors import ConfigError
from toolkit.sdl.model import Service
from toolkit.sdl.render import RETRY

CACHE_VARIABLE: Final = "VLLM_CPU_KVCACHE_SPACE"  # whole GiB; the person's own value counts
# Where weights are kept and where it listens is the target's business.
_FIXED: Final = frozenset({"HF_HOME", "HF_HUB_CACHE", "VLLM_API_KEY"})
# What templates wrap around it, to begin it anew in a container.
_WRAPPER: Final = ("python3", "-c", RETRY)
_PACKAGES: Final = "lib/python*/site-packages"


class VLLM:
    """See `LocalEngine`."""

    name = "vllm"
    image = "vllm-openai"
    has_keys = True
    takes_socket = True
    usual_load_s = 90.0
    how_to_get = (
        "Install it in an environment of its own (python3 -m venv ~/vllm && ~/vllm/bin/pip install"
        " vllm) and set AKASH_LLM_VLLM=~/vllm/bin/vllm; for a machine without a GPU,"
        " `make engines` in the repository of akash-llm makes its build for processors."
    )

    async def needs(self, intent: Intent, program: Path) -> Needs:
        return await vllm_needs(intent, on_cpu=is_cpu_build(program))

    def job(self, name: str, service: Service, model: str) -> EngineJob:
        flags = read_flags(service.args or ())
        if flags.model != model:
            raise ConfigError(
                f"the SDL serves {flags.model[:200]!r}, and {model!r} was asked for",
                hint="Plan again, with the model that you want.",
            )
        if not (model.startswith("/") or is_hub_name(model)):
            raise ConfigError(
                f"{model[:200]!r} cannot name a model of vLLM",
                hint="Write a name on Hugging Face, or the whole path of a folder.",
            )
        serves = flags.values.get(SERVED_NAME) or served_name(model)
        values = {**flags.values, SERVED_NAME: serves}
        return EngineJob(
            service=name,
            engine=self.name,
            arguments=(model, *as_words(values)),
            serves=serves,
            notices=tuple(ignored(name, what) for what in _ignored(service, flags.ignored)),
        )

    async def prepare(self, intent: Intent, report: Callable[[str], None]) -> None:
        check_place(intent.model)
        if not intent.model.startswith("/"):
            report("vLLM fetches what it does not have from Hugging Face; that may take long")

    async def launch(self, job: EngineJob, program: Path, place: Place, intent: Intent) -> Launch:
        argv = (str(program), "serve", *job.arguments)
        argv += _listens(place)
        environment = {
            "VLLM_API_KEY": place.key,
            "VLLM_HOST_IP": place.host,  # what its processes say among themselves stays here, too
            "VLLM_NO_USAGE_STATS": "1",
        }
        if intent.model.startswith("/"):
            environment["HF_HUB_OFFLINE"] = "1"
        if is_cpu_build(program):
            argv += _processor_flags(job.arguments)
            cache = os.environ.get(CACHE_VARIABLE) or str(await cache_gib(intent))
            environment[CACHE_VARIABLE] = cache
        return Launch(argv, environment)


def _listens(place: Place) -> tuple[str, ...]:
    """On a port other users of the machine reach it, and it asks for its key below /v1 only."""
    if place.socket:
        return ("--uds", str(place.socket))
    return ("--host", place.host, "--port", str(place.port))


def _processor_flags(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """What its build for processors needs: no compiling, a type that all of them compute, and
    no share of GPUs. The last one of two equal flags counts."""
    given = dict(pairwise(arguments))
    flags: tuple[str, ...] = ("--enforce-eager",)
    if DTYPE not in given:
        flags += (DTYPE, "bfloat16")
    if given.get(TENSOR_PARALLEL, "1") != "1":
        flags += (TENSOR_PARALLEL, "1")
    return flags


def _ignored(service: Service, flags: tuple[str, ...]) -> list[str]:
    """What of the service does not count, each shown short: the SDL may come from anywhere."""
    parts = [f"the argument {flag[:60]!r}" for flag in flags]
    if service.command and service.command != _WRAPPER:
        parts.append("command")
    if service.credentials:
        parts.append("credentials")
    return parts + [f"{key[:60]}" for key in sorted(set(service.environment) - _FIXED)]


def is_cpu_build(program: Path) -> bool:
    """Whether a vLLM computes on processors, told from the package beside its program.

    vLLM itself decides by the word "cpu" in its version; on macOS there is nothing else.
    """
    if sys.platform == "darwin":
        return True
    root = program.resolve().parent.parent
    found = [path.name for path in root.glob(f"{_PACKAGES}/vllm*.dist-info")]
    names = [name for name in found if name.startswith(("vllm-", "vllm_cpu-"))]
    return any("cpu" in name for name in names)
