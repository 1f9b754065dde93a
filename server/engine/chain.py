"""llama.cpp's samplers for one request, in its own order."""

import ctypes
import math
import secrets
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from server.engine.types import Sampling

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

# How many of the best tokens mirostat 1 estimates its exponent from (its paper uses 100).
_MIROSTAT_M = 100
_MIN_KEEP = 1


def _penalizes(sampling: Sampling) -> bool:
    return sampling.repeat_last_n != 0 and (
        sampling.repeat_penalty != 1.0
        or sampling.presence_penalty != 0.0
        or sampling.frequency_penalty != 0.0
    )


class _Builder:
    """Builds a llama.cpp sampler chain; every sampler added belongs to it."""

    def __init__(self, vocab: int, vocab_size: int, context: int) -> None:
        self.pointer: int = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        self._vocab = vocab
        self._vocab_size = vocab_size
        self._context = context

    def add(self, sampler: int) -> None:
        llama_cpp.llama_sampler_chain_add(self.pointer, sampler)

    def add_biases(self, biases: Sequence[tuple[int, float]]) -> None:
        array = (llama_cpp.llama_logit_bias * len(biases))(
            *(llama_cpp.llama_logit_bias(token, bias) for token, bias in biases)
        )
        # llama.cpp copies the list.
        self.add(llama_cpp.llama_sampler_init_logit_bias(self._vocab_size, len(biases), array))

    def add_penalties(self, sampling: Sampling) -> None:
        self.add(
            llama_cpp.llama_sampler_init_penalties(
                self._vocab_size,
                _bounded(sampling.repeat_last_n, self._context),
                sampling.repeat_penalty,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            )
        )

    def add_dry(self, sampling: Sampling) -> None:
        breakers = [text.encode(errors="replace") for text in sampling.dry_sequence_breakers]
        self.add(
            llama_cpp.llama_sampler_init_dry(
                self._vocab,
                sampling.dry_multiplier,
                sampling.dry_base,
                sampling.dry_allowed_length,
                _bounded(sampling.dry_penalty_last_n, self._context),
                (ctypes.c_char_p * len(breakers))(*breakers),
                len(breakers),
            )
        )

    def add_mirostat(self, sampling: Sampling, seed: int) -> None:
        tau, eta = sampling.mirostat_tau, sampling.mirostat_eta
        if sampling.mirostat == 1:
            self.add(
                llama_cpp.llama_sampler_init_mirostat(self._vocab_size, seed, tau, eta, _MIROSTAT_M)
            )
        else:
            self.add(llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta))

    def add_truncation(self, sampling: Sampling, seed: int) -> None:
        """The samplers that leave only some tokens to choose from."""
        if sampling.top_k > 0:
            self.add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.typical_p < 1.0:
            self.add(llama_cpp.llama_sampler_init_typical(sampling.typical_p, _MIN_KEEP))
        if sampling.top_p < 1.0 and not _has_nucleus(sampling):
            self.add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, _MIN_KEEP))
        if sampling.min_p > 0.0:
            self.add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, _MIN_KEEP))
        if sampling.xtc_probability > 0.0:
            self.add(
                llama_cpp.llama_sampler_init_xtc(
                    sampling.xtc_probability, sampling.xtc_threshold, _MIN_KEEP, seed
                )
            )

    def add_temperature(self, sampling: Sampling) -> None:
        self.add(
            llama_cpp.llama_sampler_init_temp_ext(
                sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent
            )
        )


def _bounded(last_n: int, context: int) -> int:
    """llama.cpp makes room for as many tokens as it is told, 4 bytes each."""
    return context if last_n < 0 else min(last_n, context)


class Candidates:
    """Tokens with their logits, as samplers take them: a `llama_token_data_array`."""

    def __init__(
        self, tokens: NDArray[Any], logits: NDArray[np.float32], *, is_sorted: bool = False
    ) -> None:
        self._data = np.zeros(len(tokens), dtype=_CANDIDATE)
        self._data["id"], self._data["logit"] = tokens, logits
        # Points into `_data`, so the two live together.
        self.array = llama_cpp.llama_token_data_array(
            data=self._data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data)),
            size=len(tokens),
            selected=-1,
            sorted=is_sorted,
        )

    def logits(self, vocab_size: int) -> NDArray[np.float32]:
        """What samplers have left, by token; -inf for those that they took out."""
        left = self._data[: self.array.size]
        logits = np.full(vocab_size, -np.inf, dtype=np.float32)
        logits[left["id"]] = left["logit"]
        return logits

    @property
    def selected(self) -> int:
        """The token that a sampler has chosen."""
        return int(self._data[self.array.selected]["id"])


class Chain:
    """The samplers of one request in two chains: what changes logits, and what chooses.

    Between them `nucleus`, if it is not None, says that a top-p of so much is to be applied by
    the caller: where nothing bounds the candidates before it, llama.cpp would sort all of the
    vocabulary.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        vocab: int,
        vocab_size: int,
        context: int,
        banned: Sequence[int],
    ) -> None:
        """`banned` are tokens that must not be chosen (`ignore_eos`)."""
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed % 2**32
        self.nucleus = sampling.top_p if _has_nucleus(sampling) else None
        front, back = (_Builder(vocab, vocab_size, context) for _ in range(2))
        _add_changes(front if self.nucleus is not None else back, sampling, banned)
        _add_choice(back, sampling, seed)
        self.has_front = bool(llama_cpp.llama_sampler_chain_n(front.pointer))
        self.front, self.back = front.pointer, back.pointer
        # How many tokens it looks back over at most; 0 if it does not.
        self.look_back = max(
            _bounded(sampling.repeat_last_n, context) if _penalizes(sampling) else 0,
            _bounded(sampling.dry_penalty_last_n, context) if sampling.dry_multiplier > 0 else 0,
        )
        self._is_open = True

    def accept(self, token: int) -> None:
        """Tell everything that looks back that `token` was chosen."""
        llama_cpp.llama_sampler_accept(self.front, token)
        llama_cpp.llama_sampler_accept(self.back, token)

    def change(self, candidates: Candidates) -> None:
        """Apply biases and penalties."""
        llama_cpp.llama_sampler_apply(self.front, ctypes.byref(candidates.array))

    def choose(self, candidates: Candidates) -> int:
        """Apply the rest; the token that is chosen. Tells nobody of it."""
        llama_cpp.llama_sampler_apply(self.back, ctypes.byref(candidates.array))
        return candidates.selected

    def close(self) -> None:
        """Free the samplers. May be called twice."""
        if self._is_open:
            self._is_open = False
            llama_cpp.llama_sampler_free(self.front)
            llama_cpp.llama_sampler_free(self.back)


def _has_nucleus(sampling: Sampling) -> bool:
    return (
        sampling.temperature > 0
        and not sampling.mirostat
        and sampling.top_k <= 0
        and sampling.typical_p >= 1.0
        and sampling.top_p < 1.0
    )


def _add_changes(chain: _Builder, sampling: Sampling, banned: Sequence[int]) -> None:
    if biases := [*sampling.logit_bias, *((token, -math.inf) for token in banned)]:
        chain.add_biases(biases)
    if _penalizes(sampling):
        chain.add_penalties(sampling)
    if sampling.dry_multiplier > 0.0:
        chain.add_dry(sampling)
    if sampling.top_n_sigma > 0.0 and sampling.temperature > 0 and not sampling.mirostat:
        chain.add(llama_cpp.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))


def _add_choice(chain: _Builder, sampling: Sampling, seed: int) -> None:
    if sampling.temperature <= 0:
        chain.add(llama_cpp.llama_sampler_init_greedy())
    elif sampling.mirostat:
        chain.add_temperature(sampling)
        chain.add_mirostat(sampling, seed)
    else:
        chain.add_truncation(sampling, seed)
        chain.add_temperature(sampling)
        chain.add(llama_cpp.llama_sampler_init_dist(seed))
