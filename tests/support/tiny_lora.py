"""A LoRA adapter for the tiny model of `tiny_llama`: noise on top of noise, but loud."""

from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny_llama import FEED_FORWARD, LAYERS, WIDTH

RANK = 2
ARRAY = gguf.GGUFValueType.ARRAY


def write_tiny_lora(
    path: Path,
    *,
    architecture: str = "llama",
    width: int = WIDTH,
    kind: str = "lora",
    invocation: tuple[int, ...] = (),
) -> Path:
    """Write the adapter to `path`; another `width` than the model's fits nothing in it, and
    one with an `invocation` only works behind these tokens."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", RANK)
    if invocation:
        key, array, item = "adapter.alora.invocation_tokens", ARRAY, gguf.GGUFValueType.UINT32
        writer.add_key_value(key, list(invocation), array, sub_type=item)

    def pair(name: str, rows: int, columns: int) -> None:
        for end, shape in (("lora_a", (RANK, columns)), ("lora_b", (rows, RANK))):
            values = random.standard_normal(shape).astype(np.float32)
            writer.add_tensor(f"{name}.weight.{end}", values)

    for layer in range(LAYERS):
        pair(f"blk.{layer}.attn_v", width, width)
        pair(f"blk.{layer}.ffn_down", width, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
