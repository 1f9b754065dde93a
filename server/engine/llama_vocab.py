"""The vocabulary of a model through llama.cpp's C API. Safe to use from several threads."""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import llama_cpp
import llguidance
from llguidance.llamacpp import lltokenizer_from_vocab

from server.engine.backend import RequestError
from server.engine.types import Segment


class LlamaVocab:
    """Texts to tokens and back. `size` is the number of tokens."""

    def __init__(self, model: int) -> None:
        self.pointer: Any = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.pointer)
        self.bos: int = llama_cpp.llama_vocab_bos(self.pointer)
        self.eos: int = llama_cpp.llama_vocab_eos(self.pointer)
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.pointer))

    def tokenize(self, segments: Sequence[Segment], *, add_bos: bool) -> list[int]:
        """See `Backend.tokenize`."""
        tokens: list[int] = []
        for segment in segments:
            tokens += self._tokenize(segment)
        return self.with_bos(tokens) if add_bos else tokens

    def with_bos(self, tokens: list[int]) -> list[int]:
        """BOS in front if the model wants it there and it is not."""
        wants_one = self.adds_bos and tokens[:1] != [self.bos]
        return [self.bos, *tokens] if wants_one else tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        """See `Backend.detokenize`."""
        self.check(tokens)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        size = 8 * len(tokens) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_detokenize(
                self.pointer, ids, len(tokens), buffer, size, False, True
            )
            if n >= 0:
                return buffer.raw[:n].decode(errors="replace")
            size = -n

    def check(self, tokens: Sequence[int]) -> None:
        """Raise `RequestError` unless every id is one of this vocabulary."""
        for token in tokens:
            if not 0 <= token < self.size:
                raise RequestError(f"token {token} is not in the vocabulary of {self.size} tokens")

    def text(self, token: int) -> str:
        """The text of a control token as a template would write it; nothing for none (-1)."""
        if token < 0:
            return ""
        raw: bytes = llama_cpp.llama_vocab_get_text(self.pointer, token)
        return raw.decode(errors="replace")

    @functools.cache  # noqa: B019 (one vocabulary per process, and it lives as long)
    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text; control tokens add nothing."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, size, 0, False)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def is_end(self, token: int) -> bool:
        """Whether the token ends a text."""
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))

    @functools.cached_property
    def ends(self) -> list[int]:
        """Every token that ends a text."""
        return [token for token in range(self.size) if self.is_end(token)]

    @functools.cached_property
    def for_grammars(self) -> llguidance.LLTokenizer:
        """The vocabulary as llguidance wants it; a quarter of a second at the first use."""
        return lltokenizer_from_vocab(self.pointer, eos_token=self.ends)

    def control_texts(self) -> tuple[str, ...]:
        """The texts of all control tokens."""
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        return tuple(
            text
            for token in range(self.size)
            if llama_cpp.llama_vocab_get_attr(self.pointer, token) & control
            and (text := self.text(token))
        )

    def gap_texts(self) -> tuple[str, str, str] | None:
        """The fill-in-the-middle tokens (prefix, suffix, middle); None unless it has all."""
        prefix = llama_cpp.llama_vocab_fim_pre(self.pointer)
        suffix = llama_cpp.llama_vocab_fim_suf(self.pointer)
        middle = llama_cpp.llama_vocab_fim_mid(self.pointer)
        if min(prefix, suffix, middle) < 0:
            return None
        return self.text(prefix), self.text(suffix), self.text(middle)

    def around_text(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens that llama.cpp puts in front of and behind a text, such as BERT's."""
        bare = self._tokenize(Segment("a"))
        whole = self._tokenize(Segment("a"), add_special=True)
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return tuple(whole[:at]), tuple(whole[at + len(bare) :])
        return (), ()

    def _tokenize(self, segment: Segment, *, add_special: bool = False) -> list[int]:
        raw = segment.text.encode(errors="replace")
        room = len(raw) + 16
        while True:
            ids = (ctypes.c_int32 * room)()
            n = llama_cpp.llama_tokenize(
                self.pointer, raw, len(raw), ids, room, add_special, segment.special
            )
            if n >= 0:
                return ids[:n]
            room = -n
