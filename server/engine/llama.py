"""llama.cpp through its C API: the only place, with `sampler`, that touches it.

Everything here is called by one thread, but for `tokenize`, `detokenize`,
`check_tokens` and `interrupt`, which may be called by another.
"""

import ctypes
import functools
import logging
import os
from collections.abc import Sequence

import llama_cpp
import llguidance
import numpy as np
import psutil
from llguidance.llamacpp import lltokenizer_from_vocab
from numpy.typing import NDArray

from server.engine import progress
from server.engine.backend import Decoded, LoadError, RequestError, Row
from server.engine.config import EngineConfig
from server.engine.cpu import default_threads
from server.engine.grammar import Constraint
from server.engine.progress import Progress
from server.engine.sampler import LlamaSampler
from server.engine.types import ModelInfo, Request, Segment

_log = logging.getLogger("akash_llm.llama")

_UBATCH = 512
_ERROR_LEVEL = 4
_DECODED = {0: Decoded.OK, 1: Decoded.NO_SPACE, 2: Decoded.INTERRUPTED}


class _Log:
    """llama.cpp's log: errors are kept, because its functions only return NULL."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        # While a step is being interrupted its errors are what was asked for.
        self.is_quiet = False
        self._callback = llama_cpp.llama_log_callback(self._receive)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def reason(self) -> str:
        """The most telling error so far, without the name of the C function."""
        for line in self.errors:
            if "error loading model" in line:
                return line.partition("error loading model")[2].lstrip(": ")
        return self.errors[0] if self.errors else "llama.cpp gave no reason"

    def _receive(self, level: int, text: bytes, _data: object) -> None:
        if self.is_quiet:
            return
        if level == _ERROR_LEVEL and (line := text.decode(errors="replace").strip()):
            self.errors = [*self.errors[-20:], line]
            _log.error("%s", line)


class _Batch:
    """A llama_batch over numpy arrays, filled without a C call per row."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._counts = np.ones(size, dtype=np.int32)
        self._slots = np.zeros(size, dtype=np.int32)
        self._slot_pointers = (ctypes.POINTER(ctypes.c_int32) * size)(
            *(
                ctypes.cast(self._slots.ctypes.data + 4 * i, ctypes.POINTER(ctypes.c_int32))
                for i in range(size)
            )
        )
        self._wants = np.zeros(size, dtype=np.int8)
        int32 = ctypes.POINTER(ctypes.c_int32)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(int32),
            embd=None,
            pos=self._positions.ctypes.data_as(int32),
            n_seq_id=self._counts.ctypes.data_as(int32),
            seq_id=self._slot_pointers,
            logits=self._wants.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, rows: Sequence[Row]) -> None:
        """Take over the rows; at most `size` of them, or llama.cpp aborts the process."""
        count = len(rows)
        if count > self.size:
            raise ValueError(f"{count} rows in a batch of {self.size}")
        table = np.array(rows, dtype=np.int32)
        self._slots[:count] = table[:, 0]
        self._positions[:count] = table[:, 1]
        self._tokens[:count] = table[:, 2]
        self._wants[:count] = table[:, 3]
        self.struct.n_tokens = count


class LlamaBackend:
    """Implements `server.engine.backend.Backend`. Raises `LoadError`."""

    def __init__(self, path: str, config: EngineConfig, report: Progress = progress.ignore) -> None:
        self._log = _Log()
        llama_cpp.llama_backend_init()
        self._model = self._load(path, report)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        context = min(config.context, trained) if trained > 0 else config.context
        self._flag = ctypes.create_string_buffer(2)
        self._context = self._open_context(context, config)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(config.batch)
        self._warm_up()
        self.info = self._describe(context, trained, config.parallel)

    def tokenize(self, segments: Sequence[Segment], *, add_bos: bool) -> list[int]:
        tokens: list[int] = []
        for segment in segments:
            tokens += self._tokenize(segment)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        if add_bos and self.info.add_bos and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        self.check_tokens(tokens)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        size = 8 * len(tokens) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_detokenize(self._vocab, ids, len(tokens), buffer, size, False, True)
            if n >= 0:
                return buffer.raw[:n].decode(errors="replace")
            size = -n

    def check_tokens(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if not 0 <= token < self._vocab_size:
                raise RequestError(
                    f"token {token} is not in the vocabulary of {self._vocab_size} tokens"
                )

    def sampler(self, request: Request) -> LlamaSampler:
        self.check_tokens([token for token, _ in request.sampling.logit_bias])
        constraint = None
        if request.grammar is not None:
            constraint = Constraint(self._grammar_tokenizer, request.grammar)
        return LlamaSampler(
            request,
            context_pointer=self._context,
            context=self.info.context,
            vocab=self._vocab,
            logits=self._logits,
            piece=self._piece,
            is_end=self._is_end,
            ends=lambda: self._ends,
            vocab_size=self._vocab_size,
            constraint=constraint,
        )

    def decode(self, rows: Sequence[Row]) -> Decoded:
        self._batch.fill(rows)
        code = llama_cpp.llama_decode(self._context, self._batch.struct)
        return _DECODED.get(code, Decoded.REFUSED)

    def fork(self, source: int, target: int) -> None:
        # With split memory only a copy of the whole range is allowed; the caller trims.
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def trim(self, slot: int, length: int) -> bool:
        if length and llama_cpp.llama_memory_seq_rm(self._memory, slot, length, -1):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return length == 0

    def shift(self, slot: int, keep: int, discard: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, slot, keep, keep + discard)
        llama_cpp.llama_memory_seq_add(self._memory, slot, keep + discard, -1, -discard)

    def interrupt(self) -> None:
        self._log.is_quiet = True
        self._flag[0] = b"\x01"

    def arm(self) -> None:
        self._log.is_quiet = False
        self._flag[0] = b"\x00"

    # loading

    def _load(self, path: str, report: Progress) -> int:
        params = llama_cpp.llama_model_default_params()
        # C calls it until the load is over, so it must not be collected before.
        told = llama_cpp.llama_progress_callback(lambda fraction, _data: report(fraction))
        params.progress_callback = told
        model: int | None = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not model:
            raise LoadError(f"llama.cpp cannot load this model: {self._log.reason()}")
        return model

    def _open_context(self, context: int, config: EngineConfig) -> int:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context * config.parallel
        params.n_seq_max = config.parallel
        params.n_batch = config.batch
        params.n_ubatch = min(_UBATCH, config.batch)
        params.n_threads = params.n_threads_batch = config.threads or default_threads()
        self._abort = _abort_callback()
        params.abort_callback = self._abort
        params.abort_callback_data = ctypes.cast(self._flag, ctypes.c_void_p)
        pointer: int | None = llama_cpp.llama_init_from_model(self._model, params)
        if not pointer:
            raise LoadError(
                f"llama.cpp cannot make a context of {config.parallel} × {context} tokens: "
                f"{self._log.reason()}; ask for less with --context or --parallel"
            )
        return pointer

    def _warm_up(self) -> None:
        """Compute one token, so that the first request does not pay for lazy set-up."""
        token = max(0, llama_cpp.llama_vocab_bos(self._vocab))
        if self.decode([Row(0, 0, token, wants_logits=True)]) is not Decoded.OK:
            raise LoadError(f"the model cannot compute a token: {self._log.reason()}")
        llama_cpp.llama_memory_clear(self._memory, True)

    def _describe(self, context: int, trained: int, parallel: int) -> ModelInfo:
        vocab = self._vocab
        fim = tuple(
            token(vocab)
            for token in (
                llama_cpp.llama_vocab_fim_pre,
                llama_cpp.llama_vocab_fim_suf,
                llama_cpp.llama_vocab_fim_mid,
            )
        )
        template = llama_cpp.llama_model_chat_template(self._model, None)
        return ModelInfo(
            architecture=self._metadata("general.architecture"),
            context=context,
            context_train=trained,
            parallel=parallel,
            vocab_size=self._vocab_size,
            size_bytes=llama_cpp.llama_model_size(self._model),
            memory_bytes=psutil.Process().memory_info().rss,
            bos=self._text(llama_cpp.llama_vocab_bos(vocab)),
            eos=self._text(llama_cpp.llama_vocab_eos(vocab)),
            add_bos=bool(llama_cpp.llama_vocab_get_add_bos(vocab)),
            chat_template=template.decode(errors="replace") if template else None,
            control_tokens=self._control_tokens(),
            fim=(self._text(fim[0]), self._text(fim[1]), self._text(fim[2]))
            if all(token >= 0 for token in fim)
            else None,
            can_shift=bool(llama_cpp.llama_memory_can_shift(self._memory)),
        )

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if n >= 0 else ""

    def _control_tokens(self) -> tuple[str, ...]:
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        return tuple(
            text
            for token in range(self._vocab_size)
            if llama_cpp.llama_vocab_get_attr(self._vocab, token) & control
            and (text := self._text(token))
        )

    # vocabulary

    def _tokenize(self, segment: Segment) -> list[int]:
        raw = segment.text.encode(errors="replace")
        room = len(raw) + 16
        while True:
            ids = (ctypes.c_int32 * room)()
            n = llama_cpp.llama_tokenize(
                self._vocab, raw, len(raw), ids, room, False, segment.special
            )
            if n >= 0:
                return ids[:n]
            room = -n

    def _text(self, token: int) -> str:
        """The text of a control token as a template would write it."""
        if token < 0:
            return ""
        raw: bytes = llama_cpp.llama_vocab_get_text(self._vocab, token)
        return raw.decode(errors="replace")

    @functools.cache  # noqa: B019 (one backend per process, and it lives as long)
    def _piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text; control tokens add nothing."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def _is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    @functools.cached_property
    def _ends(self) -> list[int]:
        return [token for token in range(self._vocab_size) if self._is_end(token)]

    @functools.cached_property
    def _grammar_tokenizer(self) -> llguidance.LLTokenizer:
        return lltokenizer_from_vocab(self._vocab, eos_token=self._ends)

    def _logits(self, row: int) -> NDArray[np.float32]:
        """The logits of a row of the last batch; valid until the next decode."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        if not pointer:
            raise RequestError("the model gave no logits for this token")
        return np.ctypeslib.as_array(pointer, (self._vocab_size,))


def _abort_callback() -> object:
    """A C function that says whether the flag is set, without the interpreter lock.

    llama.cpp asks it several hundred times a step, so it must not be Python. `strlen` of
    a two-byte buffer is 1 when its first byte is set and 0 when it is not: just that.
    """
    libc = ctypes.CDLL(None)
    return ctypes.cast(libc.strlen, llama_cpp.ggml_abort_callback)
