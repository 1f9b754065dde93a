"""What a model takes in vLLM on this machine: on its GPUs, or on its processor."""

import math
from typing import Final

import msgspec
import psutil

from toolkit.deploy.base import Intent, Resource
from toolkit.deploy.engines.gpus import gpu_memories, has_gpu
from toolkit.deploy.engines.weights import model_name, subject_of
from toolkit.deploy.needs import Needs, context_resource, size_text
from toolkit.errors import CapacityError
from toolkit.sizing.demand import Ask, Parts, Spread, bytes_per_gpu, parts
from toolkit.sizing.subject import Subject
from toolkit.units import GIB, sdl_size

# Its three processes with PyTorch, without weights and cache; measured with 0.32.
PROGRAMS_BYTES: Final = 5 * GIB // 2
_UNKNOWN_CACHE_GIB: Final = 4
_CACHE_SLACK: Final = 1.1  # it is counted in blocks of tokens
_GPU_SHARE: Final = 0.9  # what vLLM takes of a GPU where nothing is said


async def vllm_needs(intent: Intent, *, on_cpu: bool) -> Needs:
    """Resources and notices; looks at this machine only, so that of a model which is not here
    little is known. `UsageError` for what is no model, `CapacityError` if it cannot fit."""
    intent = msgspec.structs.replace(intent, model=model_name(intent.model))
    subject = await subject_of(intent.model)
    if subject is None:
        return _unseen(intent, _machine_notices(on_cpu))
    if on_cpu:
        return _on_processor(intent, subject)
    return await _on_gpus(intent, subject)


async def cache_gib(intent: Intent) -> int:
    """What the cache of a processor has to hold, in whole GiB, as vLLM is told it."""
    subject = await subject_of(intent.model)
    if subject is None:
        return _UNKNOWN_CACHE_GIB
    return _whole_gib(_parts(intent, subject, on_gpu=False).cache.bytes)


def _whole_gib(cache_bytes: int) -> int:
    return max(1, math.ceil(cache_bytes * _CACHE_SLACK / GIB))


def _ask(intent: Intent) -> Ask:
    return Ask(engine="vllm", context=intent.context, parallel=intent.parallel)


def _parts(intent: Intent, subject: Subject, *, on_gpu: bool) -> Parts:
    return parts(subject, _ask(intent), on_gpu=on_gpu)


def _unseen(intent: Intent, notices: tuple[str, ...]) -> Needs:
    resources = (
        Resource("model", intent.model, "it is not here yet, so nothing is known of its size"),
        context_resource(intent),
    )
    notice = f"vLLM will download {intent.model} from Hugging Face when it starts."
    return Needs(intent, "8Gi", resources, (notice, *notices))


def _machine_notices(on_cpu: bool) -> tuple[str, ...]:
    if on_cpu or has_gpu():
        return ()
    return (
        "No GPU is seen here, and this vLLM is not built for processors: it may not start."
        " `make engines` makes a build that does.",
    )


def _on_processor(intent: Intent, subject: Subject) -> Needs:
    found = _parts(intent, subject, on_gpu=False)
    cache = _whole_gib(found.cache.bytes) * GIB
    memory = found.weights.bytes + cache + found.compute.bytes + PROGRAMS_BYTES
    machine = psutil.virtual_memory()
    if memory > machine.total:
        raise _too_large(intent, memory, "this machine has", machine.total)
    notices = ["This vLLM computes on the processor."]
    if memory > machine.available:
        notices.append("More memory than is free now: close something, or it may be slow.")
    reason = (
        f"weights {size_text(found.weights.bytes)}, cache {size_text(cache)},"
        f" a step {size_text(found.compute.bytes)}, programs {size_text(PROGRAMS_BYTES)}"
    )
    resources = (
        _model_resource(intent, subject),
        context_resource(intent),
        Resource("memory", f"about {size_text(memory)}", reason),
    )
    return Needs(intent, sdl_size(memory), resources, tuple(notices))


async def _on_gpus(intent: Intent, subject: Subject) -> Needs:
    memories = await gpu_memories()
    resources = (_model_resource(intent, subject), context_resource(intent))
    memory = sdl_size(subject.file_bytes + PROGRAMS_BYTES)
    if not memories:
        return Needs(intent, memory, resources, _machine_notices(on_cpu=False))
    count, needed = _spread(intent, subject, memories)
    gpus = Resource("GPU", f"{count}, {size_text(needed)} of each", "as vLLM spreads the model")
    return Needs(intent, memory, (*resources, gpus), (), gpus=count)


def _spread(intent: Intent, subject: Subject, memories: list[int]) -> tuple[int, int]:
    """Over how many GPUs, a power of two, and what each has to hold."""
    room = int(min(memories) * _GPU_SHARE)
    counts = [count for count in (1, 2, 4, 8, 16) if count <= len(memories)]
    needed = [bytes_per_gpu(subject, _ask(intent), Spread(tensor=count)) for count in counts]
    for count, bytes_each in zip(counts, needed, strict=True):
        if bytes_each <= room:
            return count, bytes_each
    raise _too_large(intent, needed[-1], f"each of {counts[-1]} GPUs has room for", room)


def _too_large(intent: Intent, needed: int, who: str, room: int) -> CapacityError:
    return CapacityError(
        f"{intent.model} needs about {size_text(needed)} of memory, {who} {size_text(room)}",
        hint="Ask for a smaller context, fewer parallel requests or a smaller model.",
    )


def _model_resource(intent: Intent, subject: Subject) -> Resource:
    size = size_text(subject.file_bytes)
    kind = f"{subject.parameters / 1e9:.2f}B parameters, {subject.precision}"
    return Resource("model", f"{intent.model}, {size}", kind)
