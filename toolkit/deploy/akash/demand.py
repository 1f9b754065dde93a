"""What an intent takes on a rented machine: resources with reasons, and the SDL.

Makes the key of a name that has none; only its digest goes on.
"""

import re
from collections.abc import Iterator

import msgspec

from server.errors import PullFailed
from server.models.name import ModelName
from server.models.sources import Registries
from toolkit import paths
from toolkit.deploy import keyfile
from toolkit.deploy.akash import cards, pricing
from toolkit.deploy.base import DEFAULT_ENGINE, Intent, Resource
from toolkit.deploy.needs import context_resource
from toolkit.errors import ConfigError, UsageError
from toolkit.image import NAMES
from toolkit.sdl import GPURequest, RegistryAccess, RenderInputs, render
from toolkit.sdl.advice import repository
from toolkit.sdl.inputs import TEMPLATES
from toolkit.sdl.sealed import SEALED
from toolkit.sizing.result import Sizing
from toolkit.sizing.sizing import size
from toolkit.sizing.subject import ON_DISK
from toolkit.units import sdl_size

REGISTRY_SECRET = "REGISTRY_PASSWORD"  # noqa: S105 (its name)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What sizing says to people who write an SDL by hand, which is done here.
_DONE_HERE = ("start it with OLLAMA_", "llama.cpp copies weights")
_HALF = "add --dtype half"


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `intent` has the model's name written out, `sealed` names the secrets
    that the SDL mentions, `sdl` is the text of what `inputs` render."""

    intent: Intent
    sizing: Sizing
    inputs: RenderInputs
    sdl: str
    resources: tuple[Resource, ...]
    notices: tuple[str, ...]
    sealed: tuple[str, ...]


async def demanded(intent: Intent, registries: Registries | None = None) -> Demand:
    """Size the model and write the SDL. Looks at this machine, and asks registries (the usual
    ones for None) about a model that is not on it.

    `UsageError` for what cannot be meant, `ConfigError` for a model that cannot be read or an
    image that is missing, `CapacityError` for a model that fits nowhere, `BudgetError` for a cap
    that leaves nothing.
    """
    pricing.check_amounts(intent)
    pricing.whole_hours(intent.runtime_hours)
    _check_names(intent)
    return made(intent, await _sized(intent, registries))


def made(intent: Intent, sizing: Sizing) -> Demand:
    """The same, where the size is known."""
    if ON_DISK in sizing.remarks:
        raise UsageError(
            f"{intent.model} lies on this machine, where no provider can fetch it",
            hint="Name it as a registry or Hugging Face has it, such as qwen2.5:7b or"
            " hf.co/user/repo:Q4_K_M.",
        )
    intent = msgspec.structs.replace(intent, model=_written_out(intent, sizing))
    gpu, left_out = cards.request(sizing, is_asked=bool(intent.gpus))
    inputs = _inputs(intent, sizing, gpu)
    return Demand(
        intent=intent,
        sizing=sizing,
        inputs=inputs,
        sdl=render(inputs, intent.engine),
        resources=tuple(_resources(intent, sizing, gpu)),
        notices=(*left_out, *_notices(sizing)),
        sealed=(*intent.secrets, *((REGISTRY_SECRET,) if intent.registry else ())),
    )


# -- what is said, checked


def _check_names(intent: Intent) -> None:
    for name in intent.secrets:
        if not _VARIABLE.fullmatch(name) or name == REGISTRY_SECRET:
            raise UsageError(
                f"{name[:40]!r} cannot name a secret",
                hint="Name a variable of this environment, such as HF_TOKEN; never its value.",
            )
    if intent.registry:
        _access(intent.registry)


def _access(text: str) -> RegistryAccess:
    """`user@host`, where the user may be an address of mail."""
    user, _, host = text.rpartition("@")
    if not user or ":" in user or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:-]*", host):
        raise UsageError(
            "the registry does not say who is known at which one, or says more than that",
            hint="Write it as user@host, such as you@ghcr.io; the password stays in the variable"
            " AKASH_LLM_REGISTRY_PASSWORD.",
        )
    return RegistryAccess(host, user, f"{SEALED}{REGISTRY_SECRET}")


def _written_out(intent: Intent, sizing: Sizing) -> str:
    if intent.engine == "vllm":
        return sizing.model
    if "://" in intent.model:
        return intent.model
    return ModelName.parse(intent.model).display()


# -- the model


async def _sized(intent: Intent, registries: Registries | None) -> Sizing:
    """Of GPUs that nobody named those of which fewest are needed."""
    found = await _size(intent, intent.gpus, registries)
    best = cards.best(found.gpus)
    if intent.gpus or found.gpu is None or best is None or best == found.gpu:
        return found
    again = await _size(intent, (f"{best.gpu}/{best.ram}/{best.interface}",), registries)
    return msgspec.structs.replace(again, gpus=found.gpus)


async def _size(intent: Intent, gpus: tuple[str, ...], registries: Registries | None) -> Sizing:
    try:
        return await size(
            intent.model,
            context=intent.context,
            parallel=intent.parallel,
            engine=intent.engine,  # type: ignore[arg-type]  # it refuses what is none
            gpus=gpus,
            registries=registries,
        )
    except ConfigError as error:
        pull = f"pull it to this machine first: akash-llm models pull {intent.model}"
        is_unreached = isinstance(error.__cause__, PullFailed)
        raise ConfigError(
            f"What {intent.model} needs cannot be found out: {error.message}",
            hint=f"Check the network, or {pull}" if is_unreached else error.hint,
        ) from error


# -- the SDL


def _inputs(intent: Intent, sizing: Sizing, gpu: GPURequest | None) -> RenderInputs:
    _check_image(intent, gpu)
    template = TEMPLATES[intent.engine]
    most = pricing.ceilings(intent.max_usd_per_hour, has_gateway=template.has_gateway)
    return RenderInputs(
        image=intent.image,
        engine_image=intent.engine_image,
        registry=_access(intent.registry) if intent.registry else None,
        keys_text=keyfile.as_digests(keyfile.ensure(paths.key_file(intent.name))),
        model=intent.model,
        context=intent.context,
        parallel=intent.parallel,
        engine_args=tuple(_arguments(sizing)),
        cpu=sizing.cpu,
        # What goes to /dev/shm is said on its own.
        memory=sdl_size(sizing.memory.bytes - sizing.shm.bytes),
        storage=sdl_size(sizing.storage.bytes),
        shm=sdl_size(sizing.shm.bytes) if sizing.shm.bytes else RenderInputs().shm,
        gpu=gpu,
        price=most.engine,
        gateway_price=most.gateway or RenderInputs().gateway_price,
        region=intent.region,
        env={name: f"{SEALED}{name}" for name in intent.secrets},
    )


def _check_image(intent: Intent, gpu: GPURequest | None) -> None:
    """Providers pull the image, and there is none that everybody could use."""
    is_ours = intent.engine == DEFAULT_ENGINE
    wanted = NAMES["cuda" if gpu else "cpu"] if is_ours else NAMES["gateway"]
    example = f"ghcr.io/YOU/{wanted}:1.2.3"
    hint = (
        f"Build and push one: `make image IMAGE={example}` (README, Images). Then name it with "
        f"--image, or image={example!r} in a notebook."
    )
    if not intent.image:
        raise ConfigError("Providers need an image to pull, and none is named.", hint=hint)
    if is_ours and gpu and repository(intent.image) == NAMES["cpu"]:
        raise ConfigError(f"{intent.image} computes on processors only.", hint=hint)


def _arguments(sizing: Sizing) -> Iterator[str]:
    """What vLLM is told beside what its template says."""
    if sizing.engine != "vllm" or sizing.gpu is None:
        return
    said = {
        "--max-model-len": str(sizing.context),
        "--max-num-seqs": str(sizing.parallel),
        "--tensor-parallel-size": str(sizing.gpu.count),
    }
    for name, value in zip(sizing.arguments[::2], sizing.arguments[1::2], strict=True):
        if said.get(name) != value:
            yield from (name, value)
    if not cards.has_bf16(sizing.gpu):
        yield from ("--dtype", "half")


# -- what a person reads


def _resources(intent: Intent, sizing: Sizing, gpu: GPURequest | None) -> Iterator[Resource]:
    precision = "" if sizing.precision == "unknown" else f", {sizing.precision}"
    yield Resource("model", intent.model, f"{sizing.parameters / 1e9:.2f}B parameters{precision}")
    yield context_resource(intent)
    if gpu is None:
        yield Resource("GPU", "none", sizing.gpu_reason)
    else:
        yield Resource("GPU", f"{gpu.units} × {cards.any_of(gpu)}", sizing.gpu_reason)
    yield Resource("processor", f"{sizing.cpu} cores", sizing.cpu_reason)
    yield Resource("memory", sizing.memory.text, _memory_reason(sizing))
    yield Resource("storage", sizing.storage.text, sizing.storage.reason)
    if TEMPLATES[intent.engine].has_gateway:
        yield Resource("gateway", "1 core, 1 GiB", "it has the keys, and is all the world reaches")
    if sizing.speed.one:
        speed = f"about {sizing.speed.one:g} tokens/s alone, {sizing.speed.all:g} together"
        yield Resource("speed", speed, "an estimate: `akash-llm bench run` measures it")


def _memory_reason(sizing: Sizing) -> str:
    if sizing.gpu is not None:
        return sizing.memory.reason
    parts = {"weights": sizing.weights, "cache": sizing.cache, "buffers": sizing.compute}
    named = ", ".join(f"{name} {part.text}" for name, part in parts.items())
    return f"{named}, programs, and 5% to spare"


def _notices(sizing: Sizing) -> Iterator[str]:
    for remark in sizing.remarks:
        if not remark.startswith(_DONE_HERE) and _HALF not in remark:
            yield f"{remark[0].upper()}{remark[1:]}."
