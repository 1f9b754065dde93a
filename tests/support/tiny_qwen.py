"""A Qwen2-VL text model with random weights: the rows of an image share positions (M-RoPE)."""

from pathlib import Path

import gguf

from tests.support.tiny_llama import CONTEXT, describe_shape, describe_vocabulary, finish

CONTROL = ("<|end|>", "<|vision_start|>", "<|vision_end|>")


def write_tiny_qwen(path: Path, *, seed: int = 0) -> Path:
    """Write the model to `path`; `seed` decides its weights."""
    writer = gguf.GGUFWriter(path, "qwen2vl")
    describe_shape(writer, CONTEXT)
    writer.add_rope_dimension_sections([4, 6, 6, 0])
    describe_vocabulary(writer, CONTROL)
    finish(writer, CONTROL, seed=seed, spread=3.0, biased=("attn_q", "attn_k", "attn_v"))
    return path
