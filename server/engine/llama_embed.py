"""Vectors from llama.cpp, in a context of their own: outputs of all tokens, pooled.

A causal model reads an input in pieces, like a prompt, and its outputs are pooled here.
That bounds the memory, because llama.cpp computes and keeps the logits of every row of a
batch: SmolLM2-135M takes 160 MB with 256 rows, and would take 880 MB with an input of
2,048 in one piece. Any other model looks ahead, so an input goes into one micro-batch as
a whole, and llama.cpp pools (and applies the layers that some models put behind that).

The first use opens the context, which takes about 0.1 s, and it stays: a question to a
search index is one short text at a time and should not wait for it each time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from server.engine.backend import EmbedError, EmbedShape, Part, Row
from server.engine.llama_batch import LlamaBatch

MAX_LANES = 64
_ROWS = 256
_OK, _ABORTED = 0, 2

Vectors = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a model wants to be read. `pooling` is one of llama.cpp's, none of them "none"."""

    pooling: int
    can_split: bool
    has_encoder: bool


class LlamaEmbedding:
    """Embeds texts of at most `context` tokens with one model.

    `set_up` fills in what all contexts of the model have in common, `adapt` applies adapters
    to one that is open. Nothing is computed before the first use.
    """

    def __init__(
        self,
        model: int,
        *,
        context: int,
        lanes: int,
        set_up: Callable[[llama_cpp.llama_context_params], None],
        adapt: Callable[[int], None],
    ) -> None:
        self._model = model
        self._longest = context
        self._lanes = lanes
        self._set_up = set_up
        self._adapt = adapt
        self._width = llama_cpp.llama_model_n_embd_out(model)
        # The outputs so far, pooled, of the inputs that have been read in part.
        self._begun: dict[int, NDArray[np.float64]] = {}

    @property
    def shape(self) -> EmbedShape:
        """See `Backend.embed_shape`."""
        return EmbedShape(_ROWS, self._lanes, self._kind.can_split)

    def embed(self, parts: Sequence[Part]) -> Vectors | None:
        """See `Backend.embed`."""
        self._keep({part.lane for part in parts if part.start})
        self._batch.fill(
            [
                Row(part.lane, part.start + at, token, wants_logits=True)
                for part in parts
                for at, token in enumerate(part.tokens)
            ]
        )
        compute = llama_cpp.llama_encode if self._kind.has_encoder else llama_cpp.llama_decode
        code = compute(self._context, self._batch.struct)
        if code == _OK:
            return self._pool(parts) if self._kind.can_split else self._pooled(parts)
        self._keep(set())
        if code == _ABORTED:
            return None
        raise EmbedError(f"the model could not compute this batch ({code})")

    def _keep(self, lanes: set[int]) -> None:
        """Forget what was read in all other lanes."""
        memory = llama_cpp.llama_get_memory(self._context)
        for lane in range(self._lanes):
            if lane not in lanes:
                llama_cpp.llama_memory_seq_rm(memory, lane, -1, -1)
                self._begun.pop(lane, None)

    def _pooled(self, parts: Sequence[Part]) -> Vectors:
        """What llama.cpp has pooled."""
        return [
            self._array(llama_cpp.llama_get_embeddings_seq(self._context, part.lane), 1)[0].copy()
            for part in parts
        ]

    def _pool(self, parts: Sequence[Part]) -> Vectors:
        """Pool the rows of each part, on top of what came before it."""
        rows = sum(len(part.tokens) for part in parts)
        outputs = self._array(llama_cpp.llama_get_embeddings(self._context), rows)
        vectors = []
        at = 0
        for part in parts:
            pooled = self._add(part, outputs[at : at + len(part.tokens)])
            at += len(part.tokens)
            if part.is_last:
                vectors.append(pooled.astype(np.float32))
            else:
                self._begun[part.lane] = pooled
        return vectors

    def _add(self, part: Part, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._kind.pooling == llama_cpp.LLAMA_POOLING_TYPE_LAST:
            return np.asarray(outputs[-1], dtype=np.float64)
        before = self._begun.pop(part.lane, None)
        if self._kind.pooling == llama_cpp.LLAMA_POOLING_TYPE_CLS:
            return np.asarray(outputs[0], dtype=np.float64) if before is None else before
        # The sum: a mean is the same but for its length, and every vector gets length 1.
        total: NDArray[np.float64] = outputs.sum(axis=0, dtype=np.float64)
        return total if before is None else before + total

    def _array(self, pointer: Any, rows: int) -> NDArray[np.float32]:
        if not pointer:
            raise EmbedError("the model gave no embeddings")
        return np.ctypeslib.as_array(pointer, (rows, self._width))

    # opening

    @cached_property
    def _kind(self) -> _Kind:
        """Asks a small context, because the file alone does not tell all of it."""
        unspecified = llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED
        # With fewer rows than lanes llama.cpp would end the process.
        probe = self._open(rows=self._lanes, cells=self._lanes, pooling=unspecified)
        pooling = llama_cpp.llama_pooling_type(probe)
        has_memory = bool(llama_cpp.llama_get_memory(probe))
        is_causal = bool(llama_cpp.llama_get_causal_attn(probe))
        llama_cpp.llama_free(probe)
        if pooling == llama_cpp.LLAMA_POOLING_TYPE_RANK:
            raise EmbedError("this model ranks texts (pooling type rank) and gives no embeddings")
        # What llama.cpp's own tools and Ollama do with a model that does not say.
        if pooling == llama_cpp.LLAMA_POOLING_TYPE_NONE:
            pooling = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        has_encoder = bool(llama_cpp.llama_model_has_encoder(self._model))
        return _Kind(pooling, has_memory and is_causal and not has_encoder, has_encoder)

    @cached_property
    def _context(self) -> int:
        if self._kind.can_split:
            pooling = llama_cpp.LLAMA_POOLING_TYPE_NONE
            # One input that is not read to its end, and a batch of others.
            return self._open(rows=_ROWS, cells=self._longest + _ROWS, pooling=pooling)
        rows = max(_ROWS, self._longest)
        return self._open(rows=rows, cells=rows, pooling=self._kind.pooling)

    @cached_property
    def _batch(self) -> LlamaBatch:
        return LlamaBatch(llama_cpp.llama_n_batch(self._context))

    def _open(self, *, rows: int, cells: int, pooling: int) -> int:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = cells
        params.n_seq_max = self._lanes
        params.n_batch = params.n_ubatch = rows
        params.embeddings = True
        params.pooling_type = pooling
        # Cells that all inputs share, so that none of them is cut up to fit its own.
        params.kv_unified = True
        self._set_up(params)
        context: int | None = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            raise EmbedError("llama.cpp cannot make a context for embeddings")
        self._adapt(context)
        return context
