"""A BERT with random weights that llama.cpp really loads: two layers, letters for words.

It gives vectors and no text: attention looks both ways, there is no memory, and every
text gets a token in front and one behind.
"""

from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 32, 2, 2, 64, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLS, SEP = 2, 3
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def write_tiny_bert(
    path: Path, *, pooling: gguf.PoolingType = gguf.PoolingType.MEAN, seed: int = 0
) -> Path:
    """Write the model to `path`; `seed` decides its weights."""
    random = np.random.default_rng(seed)
    # As the converter writes WordPiece: "▁a" begins a word, "a" goes on with it.
    tokens = [*SPECIAL, *(f"▁{letter}" for letter in _LETTERS), *_LETTERS]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(CLS)
    writer.add_sep_token_id(SEP)
    writer.add_mask_token_id(4)

    def tensor(name: str, *shape: int) -> None:
        scale = 1.0 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, dtype=np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    tensor("token_types.weight", 2, WIDTH)
    tensor("position_embd.weight", CONTEXT, WIDTH)
    norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"{block}.{name}.weight", WIDTH, WIDTH)
            tensor(f"{block}.{name}.bias", WIDTH)
        tensor(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_up.bias", FEED_FORWARD)
        tensor(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
        tensor(f"{block}.ffn_down.bias", WIDTH)
        norm(f"{block}.attn_output_norm")
        norm(f"{block}.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
