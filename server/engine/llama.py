"""llama.cpp through its C API: what a loaded model can do.

Everything here is called by one thread, but for `tokenize`, `detokenize`,
`check_tokens`, `prepare` and `interrupt`, which may be called by another.
"""

import ctypes
import logging
import os
import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import llama_cpp
import numpy as np
import psutil
from numpy.typing import NDArray

from server.engine import progress
from server.engine.backend import (
    NO_VISION,
    Decoded,
    EmbedError,
    EmbedShape,
    LoadError,
    Part,
    RequestError,
    Row,
)
from server.engine.config import EngineConfig, Placement
from server.engine.ggml_modules import load_modules
from server.engine.grammar import Constraints
from server.engine.image_tokens import text_tokens
from server.engine.llama_batch import LlamaBatch
from server.engine.llama_embed import MAX_LANES, LlamaEmbedding
from server.engine.llama_images import LlamaImages
from server.engine.llama_vision import LlamaVision
from server.engine.llama_vocab import LlamaVocab
from server.engine.params import context_params, model_params, set_computing, without_effect
from server.engine.positions import Positions, Shared
from server.engine.progress import Progress
from server.engine.sampler import LlamaSampler
from server.engine.types import ImageSegment, ModelInfo, Request, Segment

_log = logging.getLogger("akash_llm.llama")

_WARNING_LEVEL, _ERROR_LEVEL = 3, 4
_DECODED = {0: Decoded.OK, 1: Decoded.NO_SPACE, 2: Decoded.INTERRUPTED}


class _Log:
    """llama.cpp's log: errors are kept, because its functions only return NULL."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        # While a step is being interrupted its errors are what was asked for.
        self.is_quiet = False
        self.callback = llama_cpp.llama_log_callback(self._receive)
        llama_cpp.llama_log_set(self.callback, ctypes.c_void_p(0))

    def reason(self) -> str:
        """The most telling error so far, without the name of the C function."""
        for line in self.errors:
            if "error loading model" in line:
                return line.partition("error loading model")[2].lstrip(": ")
        if not self.errors:
            return "llama.cpp gave no reason"
        return re.sub(r"^\w+: ", "", self.errors[0])

    def _receive(self, level: int, text: bytes, _data: object) -> None:
        if self.is_quiet:
            return
        line = text.decode(errors="replace").strip()
        if level == _ERROR_LEVEL and line:
            self.errors = [*self.errors[-20:], line]
            _log.error("%s", line)
        elif level == _WARNING_LEVEL and "mlock" in line:
            # It goes on without; of what was asked for, nothing else is dropped like that.
            _log.warning("%s", line.partition("\n")[0])


class LlamaBackend:
    """Implements `server.engine.backend.Backend`. Raises `LoadError`."""

    def __init__(
        self,
        path: str,
        config: EngineConfig,
        adapters: Sequence[tuple[str, float]] = (),
        report: Progress = progress.ignore,
        *,
        projector: str = "",
    ) -> None:
        self._log = _Log()
        load_modules()
        llama_cpp.llama_backend_init()
        self._model = self._load(path, config.placement, report)
        self._vocab = LlamaVocab(self._model)
        self._constraints = Constraints(lambda: self._vocab.for_grammars)
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        context = min(config.context, trained) if trained > 0 else config.context
        self._flag = ctypes.create_string_buffer(2)
        self._abort: Any = _abort_callback()
        self._adapters = [(self._open_adapter(path), scale) for path, scale in adapters]
        self.num_slots, self.num_cells = config.num_slots, config.num_cells
        # How far layers with a sliding window look back; 0 if there are none.
        self._window: int = llama_cpp.llama_model_n_swa(self._model)
        # Recurrent memory has one state per sequence and no way back to an earlier one.
        has_all = not self._window or config.attention.swa_full
        self.can_rewind = has_all and not self._is_recurrent()
        # When llama.cpp takes a batch back, cells that it had dropped for it stay dropped.
        self.survives_failure = not (self._window and config.num_cells is not None)
        # Split memory: copies that the next decode makes, as (source, target).
        self._pending_copies: list[tuple[int, int]] = []
        self._positions = Positions(self.num_slots)
        self._images: LlamaImages | None = None
        self._can_generate = not self._only_embeds()
        self._embedding = LlamaEmbedding(
            self._model,
            context=context,
            # A recurrent model has a state for each, whether it is in use or not.
            lanes=min(config.parallel, MAX_LANES) if self._is_recurrent() else MAX_LANES,
            set_up=lambda params: self._set_up(params, config),
            adapt=self._adapt,
        )
        if self._can_generate:
            self._context = self._open_context(context, config)
            self._memory = llama_cpp.llama_get_memory(self._context)
            self._batch = LlamaBatch(config.batch)
            self._warm_up()
        else:
            # NULL, which the C functions take for the memory of a model that has none.
            self._context = self._memory = 0
            self._warm_up_embedding()
        # What only embeds has no use for images.
        if projector and self._can_generate:
            self._images = self._open_images(projector, config, context)
        self.info = self._describe(context, trained, config.parallel)

    def tokenize(self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool) -> list[int]:
        tokens: list[int] = []
        for segment in segments:
            if isinstance(segment, Segment):
                tokens += self._vocab.tokenize([segment], add_bos=False)
            elif self._images is None:
                raise RequestError(NO_VISION)
            else:
                tokens += self._images.looking.tokenize(segment.data)
        return self._vocab.with_bos(tokens) if add_bos else tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._vocab.detokenize(tokens)

    def check_tokens(self, tokens: Sequence[int]) -> None:
        self._vocab.check(tokens)

    def prepare(self, request: Request) -> None:
        if request.grammar is not None and self._can_generate:
            self._constraints.prepare(request.grammar)

    def check_request(self, request: Request) -> None:
        if not self._can_generate:
            raise RequestError("this model gives embeddings and generates no text")
        self._vocab.check(text_tokens(request.tokens))
        self._vocab.check([token for token, _ in request.sampling.logit_bias])
        if request.grammar is not None:
            self._constraints.check(request.grammar)

    def has_encoded(self, tokens: Sequence[int]) -> bool:
        return self._images is not None and self._images.looking.has_seen(tokens)

    def encode(self, tokens: Sequence[int], images: Sequence[bytes]) -> None:
        if self._images is None:
            raise RequestError(NO_VISION)
        self._images.looking.look(tokens, images)

    def sampler(self, request: Request) -> LlamaSampler:
        grammar = request.grammar
        return LlamaSampler(
            request,
            self._vocab,
            context_pointer=self._context,
            context=self.info.context,
            logits=self._logits,
            constraint=None if grammar is None else self._constraints.take(grammar),
        )

    def decode(self, rows: Sequence[Row]) -> Decoded:
        code = 0
        if self._images is not None:
            code, rows = self._images.decode(rows)
        if rows and not code:
            self._batch.fill(rows)
            code = llama_cpp.llama_decode(self._context, self._batch.struct)
            # On a GPU it returns before the work is done.
            llama_cpp.llama_synchronize(self._context)
        if code in _DECODED:
            self._pending_copies.clear()
        return _DECODED.get(code, Decoded.REFUSED)

    def fork(self, source: int, target: int, length: int) -> bool:
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._positions.copy(source, target)
        if self.num_cells is not None:
            end = self._positions.of(source, length)
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, end)
        else:
            # Only a copy of the whole range is allowed.
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._pending_copies.append((source, target))
        return self.trim(target, length)

    def save(self, slot: int) -> "_Saved | None":
        if any(target == slot for _, target in self._pending_copies):
            return None  # its cells are not there yet
        size = llama_cpp.llama_state_seq_get_size(self._context, slot)
        state = np.empty(size, dtype=np.uint8)
        written = llama_cpp.llama_state_seq_get_data(self._context, _bytes(state), size, slot)
        if not 0 < written == size:
            return None
        return _Saved(state, self._positions.save(slot))

    def restore(self, slot: int, state: Sized) -> bool:
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        if any(slot in pair for pair in self._pending_copies):
            return False  # what is written now would be copied, or copied over
        saved = cast(_Saved, state)
        cells, size = _bytes(saved.cells), len(saved)
        if llama_cpp.llama_state_seq_set_data(self._context, cells, size, slot) != size:
            llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
            return False
        self._positions.restore(slot, saved.shared)
        return True

    def trim(self, slot: int, length: int) -> bool:
        end = self._positions.of(slot, length)
        self._positions.trim(slot, length)
        if (
            length
            and llama_cpp.llama_memory_seq_rm(self._memory, slot, end, -1)
            and self._has_window(slot, end)
        ):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return length == 0

    def _has_window(self, slot: int, end: int) -> bool:
        """Whether what the token at position `end` looks back at is there.

        llama.cpp drops what lies behind a sliding window, and removes the rest when asked to
        without a word.
        """
        if not self._window:
            return True
        first: int = llama_cpp.llama_memory_seq_pos_min(self._memory, slot)
        return 0 <= first <= max(0, end - self._window + 1)

    def shift(self, slot: int, keep: int, discard: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, slot, keep, keep + discard)
        llama_cpp.llama_memory_seq_add(self._memory, slot, keep + discard, -1, -discard)

    def embed_shape(self) -> EmbedShape:
        return self._embedding.shape

    def embed(self, parts: Sequence[Part]) -> list[NDArray[np.float32]] | None:
        return self._embedding.embed(parts)

    def interrupt(self) -> None:
        self._log.is_quiet = True
        self._flag[0] = b"\x01"

    def arm(self) -> None:
        self._log.is_quiet = False
        self._flag[0] = b"\x00"

    # loading

    def _load(self, path: str, placement: Placement, report: Progress) -> int:
        if names := without_effect(placement):
            _log.warning("no GPU can be used here, so these do nothing: %s", ", ".join(names))
        params = model_params(placement)
        # C calls it until the load is over, so it must not be collected before.
        told = llama_cpp.llama_progress_callback(lambda fraction, _data: report(fraction))
        params.progress_callback = told
        model: int | None = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not model:
            raise LoadError(f"llama.cpp cannot load this model: {self._log.reason()}")
        return model

    def _open_context(self, context: int, config: EngineConfig) -> int:
        params = context_params(config, context)
        self._set_up(params, config)
        pointer: int | None = llama_cpp.llama_init_from_model(self._model, params)
        if not pointer:
            raise LoadError(
                f"llama.cpp cannot make a context of {config.parallel} × {context} tokens: "
                f"{self._log.reason()}; change --context, --parallel or the types of the cache"
            )
        self._adapt(pointer)
        return pointer

    def _set_up(self, params: llama_cpp.llama_context_params, config: EngineConfig) -> None:
        """What the contexts of a model have in common."""
        set_computing(params, config)
        params.abort_callback = self._abort
        params.abort_callback_data = ctypes.cast(self._flag, ctypes.c_void_p)

    def _adapt(self, context: int) -> None:
        """Apply the LoRA adapters to everything that this context computes from now on."""
        count = len(self._adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)()
        scales = (ctypes.c_float * count)()
        for i, (pointer, scale) in enumerate(self._adapters):
            pointers[i], scales[i] = pointer, scale
        llama_cpp.llama_set_adapters_lora(context, pointers, count, scales)

    def _open_adapter(self, path: str) -> Any:
        pointer = llama_cpp.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not pointer:
            raise LoadError(f"llama.cpp cannot apply this LoRA adapter: {self._log.reason()}")
        if llama_cpp.llama_adapter_get_alora_n_invocation_tokens(pointer):
            raise LoadError("a LoRA adapter that begins at certain tokens cannot be applied here")
        return pointer

    def _open_images(self, projector: str, config: EngineConfig, context: int) -> LlamaImages:
        self._log.errors = []
        try:
            vision = LlamaVision(
                projector, self._model, config, context=context, log=self._log.callback
            )
        except LoadError as error:
            reason = f": {self._log.reason()}" if self._log.errors else ""
            raise LoadError(f"{error}{reason}") from None
        return LlamaImages(vision, self._context, self._positions, batch=config.batch)

    def _only_embeds(self) -> bool:
        """The rule of `server.models.gguf`, for a model that is loaded."""
        architecture = self._metadata("general.architecture")
        return (
            self._metadata(f"{architecture}.pooling_type") != ""
            or self._metadata(f"{architecture}.attention.causal") == "false"
            or not llama_cpp.llama_model_has_decoder(self._model)
        )

    def _is_recurrent(self) -> bool:
        recurrent = llama_cpp.llama_model_is_recurrent(self._model)
        return bool(recurrent or llama_cpp.llama_model_is_hybrid(self._model))

    def _warm_up_embedding(self) -> None:
        """Open the context of a model that only embeds, and see whether it does."""
        token = max(0, self._vocab.bos)
        try:
            self._embedding.embed([Part(0, 0, [token], is_last=True)])
        except EmbedError as error:
            reason = f": {self._log.reason()}" if self._log.errors else ""
            raise LoadError(f"{error}{reason}") from None

    def _warm_up(self) -> None:
        """Compute one token, so that the first request does not pay for lazy set-up."""
        token = max(0, self._vocab.bos)
        if self.decode([Row(0, 0, token, wants_logits=True)]) is not Decoded.OK:
            raise LoadError(f"the model cannot compute a token: {self._log.reason()}")
        llama_cpp.llama_memory_clear(self._memory, True)

    def _describe(self, context: int, trained: int, parallel: int) -> ModelInfo:
        vocab = self._vocab
        text_start, text_end = vocab.around_text()
        return ModelInfo(
            architecture=self._metadata("general.architecture"),
            context=context,
            context_train=trained,
            parallel=parallel,
            vocab_size=vocab.size,
            size_bytes=llama_cpp.llama_model_size(self._model),
            memory_bytes=psutil.Process().memory_info().rss,
            bos=vocab.text(vocab.bos),
            eos=vocab.text(vocab.eos),
            add_bos=vocab.adds_bos,
            chat_template=self._chat_template(None),
            tool_template=self._chat_template(b"tool_use"),
            control_tokens=vocab.control_texts(),
            fim=vocab.gap_texts(),
            can_shift=bool(llama_cpp.llama_memory_can_shift(self._memory)),
            text_start=text_start,
            text_end=text_end,
            can_generate=self._can_generate,
            has_vision=self._images is not None,
        )

    def _chat_template(self, name: bytes | None) -> str | None:
        """The template of that name, or the default one."""
        template: bytes | None = llama_cpp.llama_model_chat_template(self._model, name)
        return template.decode(errors="replace") if template else None

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if n >= 0 else ""

    def _logits(self, row: int) -> NDArray[np.float32]:
        """The logits of a row of the last batch; valid until the next decode."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        if not pointer:
            raise RequestError("the model gave no logits for this token")
        return np.ctypeslib.as_array(pointer, (self._vocab.size,))


@dataclass(frozen=True, slots=True)
class _Saved:
    """The state of a slot: what llama.cpp has of it, and the images in it."""

    cells: NDArray[np.uint8]
    shared: Shared

    def __len__(self) -> int:
        return self.cells.size


def _bytes(array: NDArray[np.uint8]) -> Any:
    """The memory of an array as C sees it."""
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _abort_callback() -> object:
    """A C function that says whether the flag is set, without the interpreter lock.

    llama.cpp asks it several hundred times a step, so it must not be Python. `strlen` of
    a two-byte buffer is 1 when its first byte is set and 0 when it is not: just that.
    """
    libc = ctypes.CDLL(None)
    return ctypes.cast(libc.strlen, llama_cpp.ggml_abort_callback)
