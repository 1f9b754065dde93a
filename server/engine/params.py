"""From our choices to llama.cpp's structs of parameters: names in, numbers out.

Part of the C boundary, but nothing here calls into a model.
"""

import ctypes
from typing import Any

import llama_cpp
import psutil
from llama_cpp import mtmd_cpp

from server.engine.backend import LoadError
from server.engine.config import EngineConfig, Placement
from server.engine.cpu import default_threads

_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # the package has no name for it
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
_FLASH = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}
_SPLIT_MODES = {
    "none": llama_cpp.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_cpp.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_cpp.LLAMA_SPLIT_MODE_ROW,
}
_LOAD_MODES = {  # by (mmap, mlock)
    (True, False): llama_cpp.LLAMA_LOAD_MODE_AUTO,  # mapped, unless a device cannot have it so
    (False, False): llama_cpp.LLAMA_LOAD_MODE_NONE,
    (False, True): llama_cpp.LLAMA_LOAD_MODE_MLOCK,
    (True, True): llama_cpp.LLAMA_LOAD_MODE_MMAP_MLOCK,
}

_MOST_CELLS = (1 << 32) - 1  # one more, and llama.cpp counts from zero again
# What a cell takes beside its keys and values, at least. llama.cpp fills all of these before
# it asks for the rest, so without this check it is killed instead of refused.
_CELL_BYTES = 64


def model_params(placement: Placement) -> Any:
    """`llama_model_params`. Raises `LoadError` for more shares than there can be GPUs."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = placement.gpu_layers
    params.split_mode = _SPLIT_MODES[placement.split_mode]
    params.main_gpu = placement.main_gpu
    params.load_mode = _LOAD_MODES[placement.mmap, placement.mlock]
    if placement.tensor_split:
        most = llama_cpp.llama_max_devices()
        if len(placement.tensor_split) > most:
            raise LoadError(f"the weights can be split over {most} devices at most")
        # Padded with zeros: llama.cpp reads as many as there can be devices. The struct
        # keeps the array alive.
        params.tensor_split = (ctypes.c_float * most)(*placement.tensor_split)
    return params


def context_params(config: EngineConfig, context: int) -> Any:
    """`llama_context_params` for `context` tokens per request. Raises `LoadError` for a cache that
    cannot be."""
    if problem := config.attention.problem:
        raise LoadError(problem)
    cells = config.num_cells or context * config.parallel
    if cells > _MOST_CELLS or cells * _CELL_BYTES > psutil.virtual_memory().total:
        raise LoadError(
            f"a context of {config.parallel} × {context} tokens does not fit into the memory "
            "of this machine; ask for less with --context or --parallel"
        )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = cells
    params.n_seq_max = config.num_slots
    params.kv_unified = config.num_cells is not None
    params.n_batch = config.batch
    params.n_ubatch = min(config.micro_batch, config.batch)
    params.swa_full = config.attention.swa_full
    params.type_k = _TYPES[config.attention.keys]
    params.type_v = _TYPES[config.attention.values]
    return params


def set_computing(params: Any, config: EngineConfig) -> None:
    """How any context of a model computes."""
    params.n_threads = config.threads or default_threads()
    params.n_threads_batch = config.batch_threads or params.n_threads
    params.flash_attn_type = _FLASH[config.attention.flash]


def vision_params(config: EngineConfig, *, most_rows: int | None = None) -> Any:
    """`mtmd_context_params`: the projector computes where and as the model does. Where it makes
    more rows of a larger image, there are at most `most_rows`, or as many as it likes."""
    params = mtmd_cpp.mtmd_context_params_default()
    params.use_gpu = config.placement.gpu_layers != 0
    params.print_timings = False
    params.n_threads = config.batch_threads or config.threads or default_threads()
    params.flash_attn_type = _FLASH[config.attention.flash]
    if most_rows is not None:
        params.image_max_tokens = most_rows
    return params


def without_effect(placement: Placement) -> list[str]:
    """The choices that only a GPU could honour, where llama.cpp can use none."""
    if llama_cpp.llama_supports_gpu_offload():
        return []
    plain = Placement()
    chosen = {
        "gpu_layers": placement.gpu_layers > 0,
        "split_mode": placement.split_mode != plain.split_mode,
        "main_gpu": placement.main_gpu != plain.main_gpu,
        "tensor_split": placement.tensor_split != plain.tensor_split,
    }
    return [name for name, is_chosen in chosen.items() if is_chosen]
