"""How much memory a model will take, told from its header before it is loaded.

The parts are those that llama.cpp allocates: weights, the cache (`llama_kv_cache` and its
relatives), the buffers that a step computes in (`ggml_gallocr`), and the process around
them. Weights and cache are exact; of the others this is a bound from above.
"""

import msgspec

from server.models import ggml
from server.models.gguf import GGUFHeader
from server.models.shape import Layer, Shape, read_shape

_BLOCKS = {block.name.lower(): block for block in ggml.BLOCKS.values()}
# llama.cpp rounds the window of a sequence up to this many tokens.
_WINDOW = 256
_FLOAT_BYTES = 4
# A runner before it loads a model: Python, its libraries, llama.cpp's tables of operations.
PROCESS_BYTES = 72 << 20
# What a token of a vocabulary costs: its text, its place in three tables.
_TOKEN_BYTES = 320
# What llama.cpp keeps for a graph of its operations, and alignment.
_GRAPH_BYTES = 256 << 10
# Of a context that embeds: sequences at once, and rows (`server.engine.llama_embed`).
_LANES = 64
_EMBED_ROWS = 256


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded.

    `parallel` windows of `context` tokens each, or `pool` tokens that `slots` sequences share.
    `rows` are computed at once (`n_ubatch`), `keys` and `values` are the types of the cache;
    without `flash` attention scores are kept of all tokens. `swa_full` keeps everything
    of layers that look back over a window only.
    """

    context: int
    parallel: int = 1
    pool: int | None = None
    slots: int = 0
    rows: int = 512
    keys: str = "f16"
    values: str = "f16"
    flash: bool = True
    swa_full: bool = False

    @property
    def sequences(self) -> int:
        """Sequences that llama.cpp makes room for."""
        return max(self.slots or self.parallel, 1)


class Footprint(msgspec.Struct, frozen=True):
    """The parts of the memory that a loaded model takes, in bytes.

    `logits_bytes` are part of the compute buffer as well, put aside for the logits of every
    row: on a GPU they are taken, in main memory they are only touched where somebody asks
    for all of them, so they are not in the total.
    """

    weights_bytes: int
    cache_bytes: int
    compute_bytes: int
    process_bytes: int
    logits_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """What is resident in main memory."""
        return self.weights_bytes + self.cache_bytes + self.compute_bytes + self.process_bytes

    @property
    def device_bytes(self) -> int:
        """What a GPU with all layers has to hold, less what its driver takes."""
        return self.weights_bytes + self.cache_bytes + max(self.compute_bytes, self.logits_bytes)


def estimate(header: GGUFHeader, use: Use, *, weights_bytes: int | None = None) -> Footprint:
    """What a model takes with everything on one device; the weights are `weights_bytes`, or
    the file, which is mapped and read as a whole."""
    weights = header.file_size if weights_bytes is None else weights_bytes
    return estimate_shape(read_shape(header), use, weights)


def estimate_shape(shape: Shape, use: Use, weights_bytes: int) -> Footprint:
    """The same for a shape that came from elsewhere."""
    return Footprint(
        weights_bytes=weights_bytes,
        cache_bytes=cache_bytes(shape, use),
        compute_bytes=compute_bytes(shape, use),
        process_bytes=PROCESS_BYTES + _TOKEN_BYTES * shape.vocab,
        logits_bytes=logits_bytes(shape, use),
    )


# -- the cache


class _Cells(msgspec.Struct, frozen=True):
    """Tokens that the layers have room for: `streams` times `full`, or `windowed` of those
    with a window. `rows` are computed at once."""

    full: int
    windowed: int
    streams: int
    rows: int


def _cells(shape: Shape, use: Use) -> _Cells:
    """`llama_context` and `llama_kv_cache_iswa`."""
    context = min(use.context, shape.context or use.context)
    if shape.only_embeds:
        return _embedding_cells(shape, context)
    is_shared = use.pool is not None
    total = _whole(use.pool if use.pool is not None else context * use.parallel)
    streams = 1 if is_shared else max(use.parallel, 1)
    full = total if is_shared else _whole(total // streams)
    rows = min(use.rows, full * streams)
    looked_back = shape.window * (use.sequences if is_shared else 1) + rows
    windowed = full if use.swa_full else _whole(min(full, looked_back))
    return _Cells(full, windowed, streams, rows)


def _embedding_cells(shape: Shape, context: int) -> _Cells:
    """One memory that all inputs share; a model that looks ahead reads each in one piece."""
    if shape.has_memory and shape.is_causal:
        full = _whole(context + _EMBED_ROWS)
        return _Cells(full, full, 1, _EMBED_ROWS)
    rows = max(_EMBED_ROWS, context)
    return _Cells(_whole(rows), _whole(rows), 1, rows)


def _whole(window: int) -> int:
    return -(-window // _WINDOW) * _WINDOW


def cache_bytes(shape: Shape, use: Use) -> int:
    """Keys and values of every layer for as many tokens as it keeps, and the states of every
    recurrent one for as many sequences as there may be."""
    cells = _cells(shape, use)
    states = _FLOAT_BYTES * _sequences(shape, use) * sum(layer.state for layer in shape.layers)
    if not shape.has_memory:
        return 0
    kept = sum(
        token_bytes(layer, use) * (cells.windowed if layer.is_windowed else cells.full)
        for layer in _padded(shape, use)
    )
    return kept * cells.streams + states


def cache_bytes_per_token(shape: Shape, use: Use) -> int:
    """What one more token of context costs: layers with a window keep none more."""
    if not shape.has_memory:
        return 0
    return sum(
        token_bytes(layer, use)
        for layer in _padded(shape, use)
        if use.swa_full or not layer.is_windowed
    )


def token_bytes(layer: Layer, use: Use) -> int:
    """What a layer keeps of a token."""
    keys = size_of(use.keys, layer.keys) + size_of(use.keys, layer.index_length)
    return keys + size_of(use.values, layer.values)


def _padded(shape: Shape, use: Use) -> list[Layer]:
    """The layers; without flash attention all get the longest values (`v_trans`)."""
    if use.flash and not shape.computes_scores:
        return list(shape.layers)
    widest = max((layer.values for layer in shape.layers), default=0)
    return [
        msgspec.structs.replace(layer, value_length=-(-widest // layer.kv_heads))
        if layer.values
        else layer
        for layer in shape.layers
    ]


def size_of(kind: str, elements: int) -> int:
    """Bytes of so many numbers of a type, such as "q8_0"."""
    block = _BLOCKS[kind]
    return -(-elements // block.elements) * block.size_bytes


# -- what a step computes in


def compute_bytes(shape: Shape, use: Use) -> int:
    """The most that any operation of a step has around it: its inputs, its result, the
    residual stream, and the masks that all layers use; found by having llama.cpp lay out
    models of many shapes, see the tests. With the output buffer: logits of one token of each
    sequence, or of every row where vectors are wanted, whether there are logits or not.
    """
    cells = _cells(shape, use)
    row = max(
        _attention_row(shape, cells, use),
        4 * shape.width + (3 if shape.is_gated else 1) * shape.feed_forward,
        _expert_row(shape),
        _recurrent_row(shape),
    )
    numbers = _states(shape, use)
    if not shape.only_embeds:
        numbers += cells.rows * row + 2 * _sequences(shape, use) * shape.vocab
    elif shape.has_memory:
        numbers += cells.rows * (max(row, shape.vocab + 5 * shape.width) + shape.vocab)
    else:
        numbers += cells.rows * (row + shape.vocab)
    return _FLOAT_BYTES * numbers + _mask_bytes(shape, cells, use) + _GRAPH_BYTES


def logits_bytes(shape: Shape, use: Use) -> int:
    """What the compute buffer is where every row of a step has logits, as llama.cpp lays it
    out; with the output buffer, which has one row for each sequence."""
    cells = _cells(shape, use)
    numbers = cells.rows * (shape.vocab + 5 * shape.width)
    numbers += _states(shape, use) + _sequences(shape, use) * shape.vocab
    return _FLOAT_BYTES * numbers + _mask_bytes(shape, cells, use) + _GRAPH_BYTES


def _sequences(shape: Shape, use: Use) -> int:
    """Of a model that embeds as many as it reads together; where each has a state, no more than
    are served."""
    if not shape.only_embeds:
        return use.sequences
    return min(use.parallel, _LANES) if shape.has_state else _LANES


def _states(shape: Shape, use: Use) -> int:
    """Numbers of the states of one layer, where a step works on them."""
    largest = max((layer.state for layer in shape.layers), default=0)
    return _sequences(shape, use) * largest * 3 // 2


def _keeps_scores(shape: Shape, use: Use) -> bool:
    return not use.flash or shape.computes_scores


def _attention_row(shape: Shape, cells: _Cells, use: Use) -> int:
    kept = max((layer.keys + layer.values for layer in shape.layers), default=0)
    scores = shape.heads * cells.full if _keeps_scores(shape, use) else 0
    return 4 * shape.width + shape.queries + kept + scores


def _expert_row(shape: Shape) -> int:
    """Each expert that is used has a row of its own, inside and out."""
    if not shape.experts:
        return 0
    inside = 3 * shape.experts_used * shape.expert_feed_forward
    outside = shape.experts_used * (2 * shape.width + shape.expert_feed_forward)
    return max(inside, outside) + 5 * shape.width + shape.experts


def _recurrent_row(shape: Shape) -> int:
    if not shape.has_state:
        return 0
    return 4 * shape.width + 3 * shape.inner + 3 * shape.convolved + 4 * shape.rank


def _mask_bytes(shape: Shape, cells: _Cells, use: Use) -> int:
    """Who looks at whom, for layers of either kind: half floats for flash attention."""
    if not shape.has_memory:
        return cells.rows * cells.rows * (_FLOAT_BYTES + 2)
    if not any(layer.keys for layer in shape.layers):
        return 0
    kinds = cells.full + (cells.windowed if shape.window else 0)
    return kinds * cells.rows * (_FLOAT_BYTES if _keeps_scores(shape, use) else 2)
