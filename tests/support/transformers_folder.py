"""A folder of a small model as Hugging Face keeps them, of which only descriptions are there."""

import struct
from pathlib import Path

import msgspec


def make_weights(folder: Path, *, layers: int = 2) -> Path:
    """`folder` with a config, and a file of weights that ends behind its header."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "vocab_size": 256,
        "max_position_embeddings": 2048,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    tensor = {"dtype": "BF16", "shape": [256, 64], "data_offsets": [0, 32768]}
    header = msgspec.json.encode({"model.embed_tokens.weight": tensor})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder
