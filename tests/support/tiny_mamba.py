"""A recurrent model with random weights that llama.cpp really loads: states instead of cells."""

from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny_llama import CONTROL, byte_texts

WIDTH, INNER, STATE, KERNEL, STEP_RANK, LAYERS, CONTEXT = 64, 128, 16, 4, 4, 2, 512


def write_tiny_mamba(path: Path, *, seed: int = 0) -> Path:
    """Write the model to `path`; `seed` decides its weights."""
    random = np.random.default_rng(seed)
    tokens = [*byte_texts(), "ab", *CONTROL]
    kinds = [gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * len(CONTROL)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(STEP_RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)

    def tensor(name: str, *shape: int) -> None:
        scale = 1.0 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", np.ones(WIDTH, dtype=np.float32))
        tensor(f"{block}.ssm_in.weight", 2 * INNER, WIDTH)
        tensor(f"{block}.ssm_conv1d.weight", INNER, KERNEL)
        tensor(f"{block}.ssm_conv1d.bias", INNER)
        tensor(f"{block}.ssm_x.weight", STEP_RANK + 2 * STATE, INNER)
        tensor(f"{block}.ssm_dt.weight", INNER, STEP_RANK)
        tensor(f"{block}.ssm_dt.bias", INNER)
        # Below zero, so that the state fades.
        decay = -0.1 - np.abs(random.standard_normal((INNER, STATE)))
        writer.add_tensor(f"{block}.ssm_a", decay.astype(np.float32))
        tensor(f"{block}.ssm_d", INNER)
        tensor(f"{block}.ssm_out.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
