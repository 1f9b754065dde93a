"""A Qwen2-VL text model with random weights: the rows of an image share positions (M-RoPE)."""

from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny_llama import FEED_FORWARD, HEADS, LAYERS, WIDTH, byte_texts

CONTEXT = 512
CONTROL = ("<|end|>", "<|vision_start|>", "<|vision_end|>")


def write_tiny_qwen(path: Path, *, seed: int = 0) -> Path:
    """Write the model to `path`; `seed` decides its weights."""
    random = np.random.default_rng(seed)
    tokens = [*byte_texts(), "ab", *CONTROL]
    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_sections([4, 6, 6, 0])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * len(CONTROL))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)

    def tensor(name: str, *shape: int) -> None:
        scale = 3.0 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    tensor("output.weight", len(tokens), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v"):
            tensor(f"{block}.{name}.weight", WIDTH, WIDTH)
            writer.add_tensor(f"{block}.{name}.bias", np.zeros(WIDTH, dtype=np.float32))
        tensor(f"{block}.attn_output.weight", WIDTH, WIDTH)
        tensor(f"{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
