"""Which GPUs will do: the more there are, the more providers bid. Pure.

An SDL asks for so many GPUs of any of several cards, so all of them are such of which as many
are needed.
"""

from collections.abc import Iterator

from toolkit.gpus import find_gpu
from toolkit.sdl import GPUChoice, GPURequest
from toolkit.sizing.fitting import CUDA_CAPABILITY
from toolkit.sizing.result import GPUFit, Sizing

# Cards with more memory than this many times what will do are left to larger models.
_ROOMY = 4
_SHOWN = 2


def best(fits: tuple[GPUFit, ...]) -> GPUFit | None:
    """The first of those of which fewest are needed: one card is free more often than two."""
    usable = [fit for fit in fits if not _is_old(fit)] or list(fits)
    return min(usable, key=lambda fit: fit.count, default=None)


def _is_old(fit: GPUFit) -> bool:
    gpu = find_gpu(fit.gpu)
    return gpu is None or gpu.capability < CUDA_CAPABILITY


def has_bf16(fit: GPUFit) -> bool:
    gpu = find_gpu(fit.gpu)
    return gpu is not None and gpu.has_bf16


def request(sizing: Sizing, *, is_asked: bool) -> tuple[GPURequest | None, tuple[str, ...]]:
    """The GPUs that will do, and what to say of those that were named and do not."""
    wanted = sizing.gpu
    if wanted is None:
        return None, ()
    alike = [fit for fit in sizing.gpus if _is_alike(fit, wanted, sizing.engine, is_asked=is_asked)]
    made = GPURequest(wanted.count, tuple(_choices(alike)))
    named = {f"{fit.gpu} {fit.ram}": fit.count for fit in sizing.gpus if fit not in alike}
    left_out = tuple(
        f"{card} is left out: it would take {count} of them, where {wanted.count} of the others do."
        for card, count in named.items()
        if is_asked and count != wanted.count
    )
    return made, left_out


def _is_alike(fit: GPUFit, wanted: GPUFit, engine: str, *, is_asked: bool) -> bool:
    """Whether it can stand in for the other with the same SDL."""
    if (fit.count, fit.pipeline_parallel) != (wanted.count, wanted.pipeline_parallel):
        return False
    if engine == "vllm" and has_bf16(fit) != has_bf16(wanted):
        return False
    if is_asked:
        return True
    return fit.usable <= _ROOMY * wanted.usable and _is_old(fit) <= _is_old(wanted)


def _choices(fits: list[GPUFit]) -> Iterator[GPUChoice]:
    """Cards by model and memory; by interface only where another one of these will not do."""
    found = {(fit.gpu, fit.ram, fit.interface) for fit in fits}
    for model, ram in dict.fromkeys((fit.gpu, fit.ram) for fit in fits):
        gpu = find_gpu(model)
        known = {each.interface for each in gpu.variants if each.ram == ram} if gpu else set()
        doing = {interface for name, size, interface in found if (name, size) == (model, ram)}
        if known <= doing:
            yield GPUChoice(model, ram)
        else:
            yield from (GPUChoice(model, ram, interface) for interface in sorted(doing))


def any_of(gpu: GPURequest) -> str:
    cards = [" ".join(filter(None, (c.model, c.ram, c.interface))) for c in gpu.models]
    shown = ", ".join(cards[:_SHOWN])
    return f"{shown} or {len(cards) - _SHOWN} others" if len(cards) > _SHOWN else " or ".join(cards)
