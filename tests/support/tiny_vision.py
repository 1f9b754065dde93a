"""Projectors with random weights that llama.cpp really loads: two layers of eyes for a tiny model.

What they see is noise, but the same noise each time. Each kind stands for a family:

mlp         as LLaVA: 16 rows an image, which the model reads in order
tiles       the same, but a large image becomes an overview and tiles, each with rows of its own
gemma3      4 rows an image, which the model reads all at once (no causal mask)
qwen2vl     rows by the size of the image, which share positions (for `tiny_qwen`)
"""

import io
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from PIL import Image

from tests.support import tiny_llama

Kind = Literal["mlp", "tiles", "gemma3", "qwen2vl"]
WIDTH, HEADS, LAYERS, FEED_FORWARD, PATCH, SIDE = 32, 2, 2, 64, 8, 32
NUM_PATCHES = (SIDE // PATCH) ** 2


def write_tiny_projector(
    path: Path, kind: Kind = "mlp", *, width: int = tiny_llama.WIDTH, seed: int = 0
) -> Path:
    """Write a projector to `path` for a model of that `width`; `seed` decides its weights."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "clip")
    _describe(writer, kind, width)

    def tensor(name: str, *shape: int) -> None:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def zeros(name: str, size: int) -> None:
        writer.add_tensor(name, np.zeros(size, dtype=np.float32))

    def ones(name: str, size: int) -> None:
        writer.add_tensor(name, np.ones(size, dtype=np.float32))

    tensor("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    if kind == "qwen2vl":
        tensor("v.patch_embd.weight.1", WIDTH, 3, PATCH, PATCH)
    else:
        tensor("v.position_embd.weight", NUM_PATCHES, WIDTH)
    for layer in range(LAYERS):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensor(f"{block}.{name}.weight", WIDTH, WIDTH)
            zeros(f"{block}.{name}.bias", WIDTH)
        tensor(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        zeros(f"{block}.ffn_up.bias", FEED_FORWARD)
        tensor(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
        zeros(f"{block}.ffn_down.bias", WIDTH)
        for name in ("ln1", "ln2"):
            ones(f"{block}.{name}.weight", WIDTH)
            zeros(f"{block}.{name}.bias", WIDTH)
    ones("v.post_ln.weight", WIDTH)
    zeros("v.post_ln.bias", WIDTH)
    if kind == "gemma3":
        tensor("mm.input_projection.weight", WIDTH, width)
        ones("mm.soft_emb_norm.weight", WIDTH)
    else:
        merged = 4 * WIDTH if kind == "qwen2vl" else WIDTH
        tensor("mm.0.weight", merged, merged)
        zeros("mm.0.bias", merged)
        tensor("mm.2.weight", width, merged)
        zeros("mm.2.bias", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def picture(seed: int = 0, *, size: tuple[int, int] = (48, 40), form: str = "PNG") -> bytes:
    """An image file of noise; `seed` decides its pixels, `size` is width and height."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def _describe(writer: gguf.GGUFWriter, kind: Kind, width: int) -> None:
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    names = {"tiles": "mlp", "qwen2vl": "qwen2vl_merger"}
    writer.add_string("clip.projector_type", names.get(kind, kind))
    numbers = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": FEED_FORWARD,
        "block_count": LAYERS,
        "projection_dim": width,
        "attention.head_count": HEADS,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    if kind == "gemma3":
        writer.add_uint32("clip.vision.projector.scale_factor", 2)
    if kind == "tiles":
        writer.add_array("clip.vision.image_grid_pinpoints", [2 * SIDE, SIDE, SIDE, 2 * SIDE])
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
