"""On which GPUs a model has room: for each card the least number of them, in one machine."""

import math
from collections.abc import Iterable, Iterator

from toolkit.errors import UsageError
from toolkit.gpus import GPU, GPUS, Variant, find_gpu, nearest_name
from toolkit.sizing import speed
from toolkit.sizing.demand import Ask, Spread, bytes_per_gpu, parts
from toolkit.sizing.result import GPUFit, Quantity
from toolkit.sizing.subject import Subject
from toolkit.units import GIB

MOST_GPUS = 8
# CUDA 13 has left out what came before.
CUDA_CAPABILITY = 7.5
# What a card reports of the memory that it is sold with; error correction takes a sixteenth.
REPORTED = 15 / 16
_UTILIZATIONS = (0.9, 0.95)


def chosen(names: Iterable[str]) -> tuple[GPU, ...]:
    """The GPUs of these names, all of them for none; of one that is named as `a100/80Gi` or
    `a100/80Gi/sxm`, only such cards. Raises `UsageError` with what was meant."""
    found = tuple(map(_named, names))
    return found or GPUS


def _named(text: str) -> GPU:
    name, *parts = text.split("/")
    gpu = find_gpu(name)
    if gpu is None:
        meant = nearest_name(name)
        raise UsageError(
            f"no provider offers a GPU called {name!r}",
            hint=f"did you mean {meant}?" if meant else "write it as in rtx4090, a100, h100",
        )
    cards = tuple(each for each in gpu.variants if {each.ram, each.interface} >= set(parts))
    if not cards:
        known = ", ".join(f"{name}/{each.ram}/{each.interface}" for each in gpu.variants)
        raise UsageError(f"there is no {text!r}", hint=f"there is: {known}")
    return gpu._replace(variants=cards)


def fitting(subject: Subject, ask: Ask, gpus: Iterable[GPU]) -> tuple[GPUFit, ...]:
    """All cards of these that have room, with the fewest that do; the best first."""
    fits = (_fit(subject, ask, gpu, card) for gpu in gpus for card in gpu.variants)
    found = [fit for fit in fits if fit is not None]
    return tuple(sorted(found, key=_rank))


def _rank(fit: GPUFit) -> tuple[bool, bool, int, float, str]:
    """Cards that current builds of CUDA still know, layers that are computed together, little
    memory that is paid for and not used, then speed."""
    gpu = find_gpu(fit.gpu)
    is_old = gpu is None or gpu.capability < CUDA_CAPABILITY
    return is_old, fit.pipeline_parallel > 1, fit.count * fit.usable, -fit.speed.one, fit.gpu


def spreads(subject: Subject, ask: Ask) -> Iterator[Spread]:
    """Ways to use 1 to 8 GPUs, the best first. vLLM spreads each layer over as many as divide its
    heads, or else groups of layers over what is left; llama.cpp spreads the layers."""
    layers = max(len(subject.shape.layers), 1)
    counts = range(1, MOST_GPUS + 1)
    heads = (subject.shape.heads or 1) if ask.engine == "vllm" else 1
    ways = [
        Spread(tensor, count // tensor) for count in counts for tensor in [math.gcd(count, heads)]
    ]
    if ask.engine == "vllm":
        ways.sort(key=lambda way: (way.pipeline > 1, way.count))
    yield from (way for way in ways if way.pipeline <= layers)


def _fit(subject: Subject, ask: Ask, gpu: GPU, card: Variant) -> GPUFit | None:
    if ask.engine == "vllm" and not _can_vllm(subject, gpu):
        return None
    for spread in spreads(subject, ask):
        needed = bytes_per_gpu(subject, ask, spread)
        utilization = _utilization(ask, needed, card)
        if utilization is not None:
            return GPUFit(
                gpu=gpu.name,
                ram=card.ram,
                interface=card.interface,
                count=spread.count,
                tensor_parallel=spread.tensor,
                pipeline_parallel=spread.pipeline,
                needed=Quantity(needed, "weights, cache, buffers and overhead of each GPU"),
                usable=usable_bytes(card),
                speed=speed.on_gpu(subject, ask, spread, card.bandwidth_gbps),
                utilization=utilization or None,
            )
    return None


def _can_vllm(subject: Subject, gpu: GPU) -> bool:
    """8-bit floats need Ampere at least, where they are only stored."""
    return gpu.can_vllm and (gpu.has_bf16 or "fp8" not in subject.precision)


def usable_bytes(card: Variant) -> int:
    """What a card can hold."""
    return int(card.memory_gib * GIB * REPORTED)


def _utilization(ask: Ask, needed: int, card: Variant) -> float | None:
    """None if it does not fit; 0 for an engine that is not told a share."""
    usable = usable_bytes(card)
    if ask.engine != "vllm":
        return 0.0 if needed <= usable else None
    return next((share for share in _UTILIZATIONS if needed <= share * usable), None)


def longest_context(subject: Subject, ask: Ask, gpus: Iterable[GPU]) -> int:
    """The longest context with which it still fits some of these GPUs, in steps of 256; 0 if
    it never does."""
    cards = list(gpus)
    low, high = 0, ask.context // 256
    while low < high:
        middle = (low + high + 1) // 2
        if fitting(subject, _with_context(ask, middle * 256), cards):
            low = middle
        else:
            high = middle - 1
    return low * 256


def _with_context(ask: Ask, context: int) -> Ask:
    return Ask(engine=ask.engine, context=context, parallel=ask.parallel, kv=ask.kv)


def total_bytes(subject: Subject, ask: Ask) -> int:
    """What the whole needs on GPUs."""
    return parts(subject, ask, on_gpu=True).total
