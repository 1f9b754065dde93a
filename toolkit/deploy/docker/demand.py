"""What an intent takes in containers here: amounts with their reasons, and the SDL.

The same SDL as for a provider, so that what runs here can be rented later. Makes the key of a
name that has none; only its digest goes on.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec

from server.models.name import ModelName
from server.models.sources import Registries
from server.models.wheel import EMBEDDED
from toolkit import paths
from toolkit.deploy import keyfile
from toolkit.deploy.base import DEFAULT_ENGINE, Intent, Resource
from toolkit.deploy.docker.program import Machine
from toolkit.deploy.engines.gpus import gpu_memories
from toolkit.deploy.engines.vllm_needs import vllm_needs
from toolkit.deploy.needs import Needs, context_resource, needs_of, parsed_name, size_text
from toolkit.errors import CapacityError, ConfigError
from toolkit.sdl.advice import repository
from toolkit.sdl.inputs import TEMPLATES, GPURequest, RenderInputs
from toolkit.sdl.model import CPU, SDL
from toolkit.sdl.parse import parse
from toolkit.sdl.quantities import exact_count, exact_size
from toolkit.sdl.render import render
from toolkit.sdl.sealed import SEALED
from toolkit.sizing.sizing import size
from toolkit.sizing.subject import ON_DISK
from toolkit.units import sdl_size

CUDA_SERVER: Final = "akash-llm-server-cuda"


class Amounts(msgspec.Struct, frozen=True):
    """What may differ between two SDLs of one intent."""

    cpus: int = 1
    memory: str = "1Gi"
    gpus: int = 0


class Demand(msgspec.Struct, frozen=True):
    """`intent` has the model's name written out; `sdl` is what is asked for."""

    intent: Intent
    sdl: str
    resources: tuple[Resource, ...]
    notices: tuple[str, ...]


async def demanded(
    intent: Intent, machine: Machine, registries: Registries | None = None
) -> Demand:
    """What it takes. Asks registries, the usual ones for None, about a model that is not here.

    `UsageError` for what cannot be meant, `ConfigError` for a missing image or a model that
    cannot be read, `CapacityError` for one that does not fit.
    """
    _check_engine(intent)
    needs = await _needs(intent, registries)
    memory = exact_size(needs.memory) or 0
    if machine.memory_bytes and memory > machine.memory_bytes:
        raise CapacityError(
            f"{intent.model} needs about {size_text(memory)} of memory, containers here have"
            f" {size_text(machine.memory_bytes)}",
            hint="Ask for a smaller context, fewer parallel requests or a smaller model.",
        )
    amounts = Amounts(machine.cpus, needs.memory, await _gpus(intent, needs))
    inputs = _inputs(needs.intent, amounts)
    return Demand(
        intent=needs.intent,
        sdl=render(inputs, intent.engine),
        resources=(*needs.resources, *_images(inputs, intent.engine)),
        notices=(*needs.notices, *_notices(intent, amounts.gpus)),
    )


def checked(text: str, intent: Intent) -> SDL:
    """The SDL of a plan, if it is what `demanded` writes for the intent, but for amounts.

    A plan may have come from anywhere, and what it names would be run. `ConfigError` for any
    other image, argument, variable, port or volume than ours.
    """
    _check_engine(intent)
    given = parse(text, f"{intent.name}.yaml").sdl
    units = [exact_count(each.gpu.units) for each in given.profiles.compute.values() if each.gpu]
    amounts = Amounts(gpus=next(iter(units), None) or 0)
    ours = parse(render(_inputs(intent, amounts), intent.engine)).sdl
    if _without_amounts(given) != _without_amounts(ours):
        raise ConfigError(
            "the SDL of the plan is not what this akash-llm writes for its intent and the key in"
            f" {paths.key_file(intent.name)}: it is not run",
            hint="Plan again.",
        )
    return given


def _without_amounts(sdl: SDL) -> SDL:
    """With the same processor and memory for everything."""
    compute = {
        name: msgspec.structs.replace(each, cpu=CPU(1), memory="1Gi")
        for name, each in sdl.profiles.compute.items()
    }
    return msgspec.structs.replace(
        sdl, profiles=msgspec.structs.replace(sdl.profiles, compute=compute)
    )


def _check_engine(intent: Intent) -> None:
    if intent.engine not in TEMPLATES or not TEMPLATES[intent.engine].is_ours:
        known = ", ".join(name for name, each in TEMPLATES.items() if each.is_ours)
        raise ConfigError(f"there is no engine {intent.engine!r}", hint=f"There are: {known}.")


async def _needs(intent: Intent, registries: Registries | None) -> Needs:
    """The amounts for the model. The container pulls it itself, into a store of its own."""
    if intent.engine == "vllm":
        return await _vllm_needs(intent)
    name = None if "://" in intent.model else parsed_name(intent.model)
    if name is not None and name.same_as(ModelName.parse(EMBEDDED)):
        return await asyncio.to_thread(needs_of, intent)
    sizing = await size(
        intent.model,
        context=intent.context,
        parallel=intent.parallel,
        engine="ollama" if intent.engine == "ollama" else "llama-cpp",
        on_cpu=True,
        registries=registries,
    )
    if ON_DISK in sizing.remarks:
        raise _unseen(intent)
    model = intent.model if name is None else name.display()
    resources = (
        Resource("model", model, f"{sizing.parameters / 1e9:.2f}B parameters, {sizing.precision}"),
        context_resource(intent),
        Resource("memory", sizing.memory.text, sizing.memory.reason),
    )
    memory = sdl_size(sizing.memory.bytes)
    return Needs(msgspec.structs.replace(intent, model=model), memory, resources, ())


async def _vllm_needs(intent: Intent) -> Needs:
    """What it says of programs of this machine is not true of its image."""
    needs = await vllm_needs(intent, on_cpu=False)
    if needs.intent.model.startswith("/"):
        raise _unseen(intent)
    return msgspec.structs.replace(needs, notices=())


def _unseen(intent: Intent) -> ConfigError:
    return ConfigError(
        f"{intent.model} lies on this machine, where a container does not see it",
        hint="Name it as a registry or Hugging Face has it; or deploy it with --target local.",
    )


async def _gpus(intent: Intent, needs: Needs) -> int:
    """How many GPUs its containers get."""
    if intent.engine == "vllm":
        return needs.gpus
    is_for_gpus = repository(intent.image) == CUDA_SERVER
    if intent.engine == DEFAULT_ENGINE and intent.gpus and not is_for_gpus:
        raise ConfigError(
            f"{intent.image or 'the image'} computes on processors only",
            hint=f"Build {CUDA_SERVER}, or leave the GPUs out.",
        )
    return max(1, len(await gpu_memories())) if is_for_gpus or intent.gpus else 0


def _inputs(intent: Intent, amounts: Amounts) -> RenderInputs:
    return RenderInputs(
        image=intent.image,
        engine_image=intent.engine_image,
        keys_text=keyfile.as_digests(keyfile.ensure(paths.key_file(intent.name))),
        model=intent.model,
        context=intent.context,
        parallel=intent.parallel,
        cpu=amounts.cpus,
        memory=amounts.memory,
        gpu=GPURequest(units=amounts.gpus) if amounts.gpus else None,
        env={name: f"{SEALED}{name}" for name in intent.secrets},
    )


def _images(inputs: RenderInputs, engine: str) -> Iterator[Resource]:
    template = TEMPLATES[engine]
    kind = "our gateway" if template.has_gateway else "our server"
    yield Resource("image", inputs.image, f"{kind}; Docker pulls it if it is not here")
    if template.has_gateway:
        image = inputs.engine_image or template.image
        yield Resource("image", image, "the engine, which only the gateway reaches")


def _notices(intent: Intent, gpus: int) -> Iterator[str]:
    yield f"The container has a model store of its own and pulls {intent.model} into it."
    if intent.registry:
        host = intent.registry.rpartition("@")[2]
        yield f"Docker pulls private images with its own login: docker login {host}"
    if gpus:
        yield "Docker needs NVIDIA's container toolkit to give containers a GPU."
