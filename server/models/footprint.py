"""How much memory a model will take, told from its header before it is loaded."""

import msgspec

from server.models import ggml
from server.models.gguf import GGUFHeader

_BLOCKS = {block.name.lower(): block for block in ggml.BLOCKS.values()}
# llama.cpp rounds the window of a sequence up to this many tokens.
_WINDOW = 256
# Python, its libraries and the buffers of the process; what a token of a vocabulary costs.
_PROCESS_BYTES = 64 << 20
_TOKEN_BYTES = 256


class Footprint(msgspec.Struct, frozen=True):
    """The parts of the memory that a loaded model takes, in bytes."""

    weights_bytes: int
    cache_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.compute_bytes


def estimate(
    header: GGUFHeader,
    *,
    context: int,
    parallel: int,
    pool: int | None = None,
    rows: int = 512,
    keys: str = "f16",
    values: str = "f16",
    weights_bytes: int | None = None,
) -> Footprint:
    """What a model takes with `parallel` windows of `context` tokens each, or with `pool`
    tokens that they share; `rows` are computed at once (`n_ubatch`), `keys` and `values` are
    the types of the cache.

    weights: `weights_bytes`, or the file, which is mapped and read as a whole.
    cache: sum over layers of KV heads × (key + value length) × bytes of the types × window ×
    parallel, the window rounded up to 256 (llama.cpp: `llama_kv_cache`, `n_embd_k_gqa`,
    `n_embd_v_gqa`).
    compute: the rows' activations (6 × width + 2 × feed-forward) in F32, the attention
    mask in F32, logits of each sequence twice, and an allowance for the process.

    With SmolLM2-135M it is within 10% of the resident memory from 512 to 131,072 tokens.
    Too much for models with sliding windows or recurrent layers that say one number of KV
    heads for all layers: every layer is counted as if it kept the whole window. A model that
    only embeds reads one text after the other, some of them each in one piece.
    """
    trained = header.context_length
    window = _whole(pool or min(context, trained or context))
    num_windows = 1 if pool or header.only_embeds else parallel
    rows = max(rows, window) if header.only_embeds else rows
    return Footprint(
        weights_bytes=header.file_size if weights_bytes is None else weights_bytes,
        cache_bytes=_cache_bytes_per_token(header, keys, values) * window * num_windows,
        compute_bytes=_compute_bytes(header, rows, window, parallel),
    )


def _whole(window: int) -> int:
    return -(-window // _WINDOW) * _WINDOW


def _cache_bytes_per_token(header: GGUFHeader, keys: str, values: str) -> int:
    heads = header.of_architecture("attention.head_count") or 0
    width = header.embedding_length // heads if heads else 0
    key = header.of_architecture("attention.key_length") or width
    value = header.of_architecture("attention.value_length") or width
    return sum(
        _size(keys, number * key) + _size(values, number * value)
        for number in _kv_heads(header, heads)
    )


def _size(kind: str, elements: int) -> int:
    block = _BLOCKS[kind]
    return -(-elements // block.elements) * block.size_bytes


def _kv_heads(header: GGUFHeader, heads: int) -> list[int]:
    """KV heads by layer: the file says one number for all layers, or a list."""
    layers = header.of_architecture("block_count") or 0
    said = header.metadata.get(f"{header.architecture}.attention.head_count_kv")
    if isinstance(said, list):
        return [number for number in said if isinstance(number, int)]
    return [said if isinstance(said, int) else heads] * layers


def _compute_bytes(header: GGUFHeader, rows: int, window: int, parallel: int) -> int:
    feed_forward = header.of_architecture("feed_forward_length") or 4 * header.embedding_length
    row = 6 * header.embedding_length + 2 * feed_forward + window
    logits = 2 * parallel * header.vocab_size
    return 4 * (rows * row + logits) + _PROCESS_BYTES + _TOKEN_BYTES * header.vocab_size
