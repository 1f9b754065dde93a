"""Small model files made by the reference writer, and raw ones made by hand."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

STRING, ARRAY = 8, 9


def write_model(
    path: Path,
    *,
    architecture: str = "llama",
    tokens: list[str] | None = None,
    fields: Mapping[str, Any] | None = None,
    rows: int = 4,
    seed: int = 0,
) -> Path:
    """A sound GGUF file with one Q4_1 and one F32 tensor; `seed` makes another one of it."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(tokens or ["<unk>", "a", "b"])
    writer.add_chat_template("{{ messages }}")
    for key, value in (fields or {}).items():
        add_field(writer, key, value)
    block = np.full((rows, 64 // 32 * 20), seed, dtype=np.uint8)
    writer.add_tensor("weights", block, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("norm", np.full(64, seed, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_field(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """Write a field as what its value is."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def text(value: bytes | str) -> bytes:
    """A text as GGUF stores it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def field(key: str, kind: int, value: bytes) -> bytes:
    """One field of the header."""
    return text(key) + struct.pack("<I", kind) + value


def header(*parts: bytes, tensors: int = 0, fields: int | None = None, version: int = 3) -> bytes:
    """The beginning of a file; each part is a field unless `fields` says otherwise."""
    count = len(parts) if fields is None else fields
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + b"".join(parts)


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """The announcement of one tensor."""
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)
