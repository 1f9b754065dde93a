"""A model with random weights that llama.cpp really loads: two layers, a vocabulary of bytes.

What it says is noise; it shows what the embedded model cannot, such as a vocabulary with
fill-in-the-middle tokens.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 2, 2, 128, 512
CONTROL = ("<|end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def byte_texts() -> list[str]:
    """The 256 bytes as byte-level BPE vocabularies write them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


def write_tiny_llama(
    path: Path,
    *,
    seed: int = 0,
    context: int = CONTEXT,
    pooling: gguf.PoolingType | None = None,
    tensors_per_file: int = 0,
    templates: Mapping[str, str] | None = None,
) -> Path:
    """Write the model to `path`; `seed` decides its weights, `context` is what it claims. With
    `pooling` it only embeds. `tensors_per_file` splits it over files called like `path`.
    `templates` are chat templates by name, "" that of the default."""
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_per_file)
    describe_shape(writer, context)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    describe_vocabulary(writer, CONTROL)
    if pooling is not None:
        writer.add_pooling_type(pooling)
        writer.add_add_eos_token(True)
    for number, name in enumerate(("fim_pre", "fim_suf", "fim_mid"), start=258):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)

    for name, template in (templates or {}).items():
        writer.add_string(f"tokenizer.chat_template.{name}".removesuffix("."), template)
    finish(writer, CONTROL, seed=seed)
    return path


def describe_shape(writer: gguf.GGUFWriter, context: int) -> None:
    """The sizes of the model."""
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def describe_vocabulary(writer: gguf.GGUFWriter, control: Sequence[str]) -> None:
    """Bytes, "ab" and control tokens, of which the first ends a text."""
    tokens = [*byte_texts(), "ab", *control]
    kinds = [gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * len(control)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)


def finish(
    writer: gguf.GGUFWriter,
    control: Sequence[str],
    *,
    seed: int,
    spread: float = 1.0,
    biased: Collection[str] = (),
) -> None:
    """Add random weights, `spread` apart, with biases of zero for those `biased`, and write."""
    random = np.random.default_rng(seed)
    num_tokens = 257 + len(control)

    def tensor(name: str, *shape: int) -> None:
        scale = spread / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    tensor("token_embd.weight", num_tokens, WIDTH)
    tensor("output.weight", num_tokens, WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"{block}.{name}.weight", WIDTH, WIDTH)
            if name in biased:
                writer.add_tensor(f"{block}.{name}.bias", np.zeros(WIDTH, dtype=np.float32))
        tensor(f"{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
