"""Models of another size with random weights: their speed is real, what they say is noise.

Vocabulary and tokenizer are the embedded model's, so prompts have the same tokens. Every
tensor is made and written by itself: the model never lies in memory as a whole.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.performance.peers import PEERS, embedded_weights

_BLOCK, _BLOCK_BYTES = 32, 18  # Q4_0: a half float, then 32 numbers of 4 bits
_SPREAD = 4.6  # standard deviation of a random nibble
_ROPE_BASE = 500_000.0


class Shape(NamedTuple):
    """A model of Llama's architecture, in Q4_0; its output is tied to its embedding."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int


SHAPES = {"1b": Shape(16, 2048, 32, 8, 8192, 8192)}


def made(name: str, say: Callable[[str], object]) -> Path:
    """The file of a shape, made once and kept beside the peers."""
    path = PEERS / "shapes" / f"llama-{name}-q4_0.gguf"
    if not path.exists():
        say(f"making {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        write(draft, SHAPES[name], embedded_weights())
        draft.rename(path)
    return path


def write(path: Path, shape: Shape, vocabulary: Path) -> None:
    """Write a model of that shape with the vocabulary of another file."""
    writer = gguf.GGUFWriter(path, "llama")
    source = gguf.GGUFReader(vocabulary)
    num_tokens = _copy_vocabulary(source, writer)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_vocab_size(num_tokens)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    tensors = list(_tensors(shape, num_tokens))
    for name, rows, columns in tensors:
        _announce(writer, name, rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(0)
    for _, rows, columns in tensors:
        writer.write_tensor_data(_weights(random, rows, columns))
    writer.close()


def _copy_vocabulary(source: gguf.GGUFReader, writer: gguf.GGUFWriter) -> int:
    """Copy all that concerns the tokenizer; returns the number of tokens."""
    for name, found in source.fields.items():
        if name.startswith("tokenizer."):
            is_array = found.types[0] is gguf.GGUFValueType.ARRAY
            inner = found.types[-1] if is_array else None
            writer.add_key_value(name, found.contents(), found.types[0], sub_type=inner)
    return len(source.fields["tokenizer.ggml.tokens"].data)


def _tensors(shape: Shape, num_tokens: int) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns; no rows: a vector of ones."""
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    yield "token_embd.weight", num_tokens, width
    yield "output_norm.weight", 0, width
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", 0, width
        yield f"{block}.attn_q.weight", width, width
        yield f"{block}.attn_k.weight", kv_width, width
        yield f"{block}.attn_v.weight", kv_width, width
        yield f"{block}.attn_output.weight", width, width
        yield f"{block}.ffn_norm.weight", 0, width
        yield f"{block}.ffn_gate.weight", shape.feed_forward, width
        yield f"{block}.ffn_up.weight", shape.feed_forward, width
        yield f"{block}.ffn_down.weight", width, shape.feed_forward


def _announce(writer: gguf.GGUFWriter, name: str, rows: int, columns: int) -> None:
    if not rows:
        writer.add_tensor_info(name, (columns,), np.dtype(np.float32), 4 * columns)
        return
    row_bytes = columns // _BLOCK * _BLOCK_BYTES
    writer.add_tensor_info(
        name,
        (rows, row_bytes),
        np.dtype(np.uint8),
        rows * row_bytes,
        raw_dtype=gguf.GGMLQuantizationType.Q4_0,
    )


def _weights(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.generic]:
    """Blocks of random nibbles under one scale that keeps the size of what flows through."""
    if not rows:
        return np.ones(columns, dtype=np.float32)
    blocks = random.integers(0, 256, (rows, columns // _BLOCK, _BLOCK_BYTES), dtype=np.uint8)
    scale = np.array([1 / (_SPREAD * columns**0.5)], dtype="<f2")
    blocks[:, :, :2] = scale.view(np.uint8)
    return blocks.reshape(rows, -1)
