"""What an engine takes for a model: on one device, and on each of several.

llama.cpp's part is `server.models.footprint`, which is held against llama.cpp itself. vLLM's is
an estimate from how it spends memory: weights, the largest step it prepares for, its graphs,
and the rest for the cache.
"""

import math
from typing import Literal

import msgspec

from server.models.footprint import Use, cache_bytes, cache_bytes_per_token, estimate_shape
from server.models.shape import Layer, Shape
from toolkit.sizing.result import Quantity
from toolkit.sizing.subject import Subject
from toolkit.units import GIB

Engine = Literal["llama-cpp", "vllm", "ollama"]
ENGINES: tuple[Engine, ...] = ("llama-cpp", "vllm", "ollama")
# The types of the cache that each engine has.
CACHES: dict[Engine, tuple[str, ...]] = {
    "llama-cpp": ("f16", "q8_0", "q4_0"),
    "ollama": ("f16", "q8_0", "q4_0"),
    "vllm": ("f16", "fp8"),
}
# The driver and CUDA's libraries on a GPU, before a model is there.
CUDA_BYTES = GIB // 2
# Tokens that vLLM computes at once where nothing is said (`--max-num-batched-tokens`).
VLLM_ROWS = 2048
_GRAPHS_BYTES = GIB
_HALF, _FLOAT = 2, 4


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `parallel` requests at once of `context` tokens each."""

    engine: Engine = "llama-cpp"
    context: int = 2048
    parallel: int = 4
    kv: str = "f16"


class Spread(msgspec.Struct, frozen=True):
    """Over how many GPUs: each layer over `tensor` of them, groups of layers over `pipeline`."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def count(self) -> int:
        return self.tensor * self.pipeline


class Parts(msgspec.Struct, frozen=True):
    """The parts of the memory on one device."""

    weights: Quantity
    cache: Quantity
    cache_per_token: Quantity
    compute: Quantity
    overhead: Quantity

    @property
    def total(self) -> int:
        parts = (self.weights, self.cache, self.compute, self.overhead)
        return sum(part.bytes for part in parts)


def parts(subject: Subject, ask: Ask, *, on_gpu: bool) -> Parts:
    """What the whole model takes on one device."""
    if ask.engine == "vllm":
        return _vllm_parts(subject, ask, Spread())
    return _llama_parts(subject, ask, on_gpu)


def bytes_per_gpu(subject: Subject, ask: Ask, spread: Spread) -> int:
    """What each of several GPUs has to hold, the fullest of them."""
    if ask.engine == "vllm":
        return _vllm_parts(subject, ask, spread).total
    whole = _llama_parts(subject, ask, True)
    if spread.count == 1:
        return whole.total
    # Layers are not cut: the fullest GPU has one more than its share.
    layers = max(len(subject.shape.layers), 1)
    share = min(1.0, 1 / spread.count + 1 / layers)
    moved = int(share * (whole.weights.bytes + whole.cache.bytes))
    # With several GPUs there are copies of what goes from one to the next.
    return moved + whole.compute.bytes * 5 // 4 + whole.overhead.bytes


# -- llama.cpp, and Ollama, which runs it


def llama_use(ask: Ask) -> Use:
    """How llama.cpp loads it."""
    return Use(context=ask.context, parallel=ask.parallel, keys=ask.kv, values=ask.kv)


def _llama_parts(subject: Subject, ask: Ask, on_gpu: bool) -> Parts:
    use = llama_use(ask)
    print_ = estimate_shape(subject.shape, use, subject.weights_bytes + subject.beside_bytes)
    compute = max(print_.compute_bytes, print_.logits_bytes) if on_gpu else print_.compute_bytes
    per_token = cache_bytes_per_token(subject.shape, use)
    logits = ", and the logits of all of them" if on_gpu else ""
    return Parts(
        Quantity(print_.weights_bytes, _weights_reason(subject)),
        Quantity(
            cache_bytes(subject.shape, use),
            f"{ask.parallel} × {_tokens(subject.shape, ask)} tokens in {ask.kv}"
            + _layers_reason(subject.shape),
        ),
        Quantity(per_token, "keys and values of one token in all layers that keep everything"),
        Quantity(compute, f"what a step of {use.rows} tokens computes in{logits}"),
        Quantity(CUDA_BYTES, "CUDA and its libraries (estimate)")
        if on_gpu
        else Quantity(print_.process_bytes, "the process and the vocabulary"),
    )


def _weights_reason(subject: Subject) -> str:
    beside = " with what belongs to it" if subject.beside_bytes else ""
    counted = "counted tensor by tensor" if subject.is_exact else "as they will be (estimate)"
    return f"{subject.precision}, {counted}{beside}"


def _tokens(shape: Shape, ask: Ask) -> int:
    return min(ask.context, shape.context or ask.context)


def _layers_reason(shape: Shape) -> str:
    windowed = sum(layer.is_windowed for layer in shape.layers)
    recurrent = sum(bool(layer.state) for layer in shape.layers)
    notes = []
    if windowed:
        notes.append(f"{windowed} of {len(shape.layers)} layers keep {shape.window} of them")
    if recurrent:
        notes.append(f"{recurrent} of {len(shape.layers)} layers keep a fixed state")
    if not shape.has_memory:
        notes.append("this model keeps nothing")
    return "".join(f"; {note}" for note in notes)


# -- vLLM


def _vllm_parts(subject: Subject, ask: Ask, spread: Spread) -> Parts:
    shape = subject.shape
    weights = math.ceil(subject.weights_bytes / spread.count)
    per_token = math.ceil(sum(_vllm_token(layer, ask, spread) for layer in shape.layers))
    return Parts(
        Quantity(weights, f"{subject.precision}, as the files are{_shared(spread)}"),
        Quantity(_vllm_cache(shape, ask, spread), _vllm_reason(shape, ask, spread)),
        Quantity(per_token // spread.pipeline, "keys and values of one token in all layers"),
        Quantity(
            _vllm_step(shape, ask, spread),
            f"the largest step, {VLLM_ROWS} tokens, and logits of {ask.parallel} (estimate)",
        ),
        Quantity(
            _GRAPHS_BYTES + CUDA_BYTES * (2 if spread.count > 1 else 1),
            "CUDA graphs 1 GiB, CUDA and its libraries 0.5 GiB"
            + (", links between GPUs 0.5 GiB" if spread.count > 1 else "")
            + " (estimates)",
        ),
    )


def _shared(spread: Spread) -> str:
    return f" over {spread.count} GPUs" if spread.count > 1 else ""


def _vllm_reason(shape: Shape, ask: Ask, spread: Spread) -> str:
    kind = "fp8" if ask.kv == "fp8" else "16 bits"
    tokens = _tokens(shape, ask)
    return f"{ask.parallel} × {tokens} tokens in {kind}{_shared(spread)}" + _layers_reason(shape)


def _vllm_token(layer: Layer, ask: Ask, spread: Spread) -> float:
    """Heads are spread, but each GPU has one at least: latent keys are on every one."""
    heads = max(1.0, layer.kv_heads / spread.tensor) if layer.kv_heads else 0
    size = 1 if ask.kv == "fp8" else _HALF
    return heads * (layer.key_length + layer.value_length) * size


def _vllm_cache(shape: Shape, ask: Ask, spread: Spread) -> int:
    tokens = _tokens(shape, ask)
    kept = 0.0
    for layer in shape.layers:
        mine = min(tokens, shape.window + VLLM_ROWS) if layer.is_windowed else tokens
        kept += mine * _vllm_token(layer, ask, spread) + _FLOAT * layer.state / spread.tensor
    return math.ceil(ask.parallel * kept / spread.pipeline)


def _vllm_step(shape: Shape, ask: Ask, spread: Spread) -> int:
    forward = max(shape.feed_forward, shape.experts_used * shape.expert_feed_forward)
    row = 4 * shape.width + (3 * forward + shape.queries) / spread.tensor
    return math.ceil(VLLM_ROWS * row * _HALF + 3 * _FLOAT * ask.parallel * shape.vocab)
