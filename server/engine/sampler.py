"""Choosing tokens: llama.cpp's sampler chain, one per request, and logprobs."""

import ctypes
import math
import secrets
from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from server.engine.backend import Sampled
from server.engine.grammar import Constraint
from server.engine.types import Logprob, Request, Sampling, TokenLogprob

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


def _looks_back(sampling: Sampling) -> bool:
    """Whether the chain has to know what was said before, the prompt included."""
    return _penalizes(sampling) or sampling.dry_multiplier > 0.0


class _Chain:
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
                self._bounded(sampling.repeat_last_n),
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
                self._bounded(sampling.dry_penalty_last_n),
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
        if sampling.top_n_sigma > 0.0:
            self.add(llama_cpp.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
        if sampling.top_k > 0:
            self.add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.typical_p < 1.0:
            self.add(llama_cpp.llama_sampler_init_typical(sampling.typical_p, _MIN_KEEP))
        if sampling.top_p < 1.0:
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

    def _bounded(self, last_n: int) -> int:
        """llama.cpp makes room for as many tokens as it is told, 4 bytes each."""
        return self._context if last_n < 0 else min(last_n, self._context)


def build_chain(
    sampling: Sampling, *, vocab: int, vocab_size: int, context: int, banned: Sequence[int]
) -> int:
    """A sampler chain in llama.cpp's own order; the caller frees it.

    `banned` are tokens that must not be chosen (`ignore_eos`).
    """
    chain = _Chain(vocab, vocab_size, context)
    if biases := [*sampling.logit_bias, *((token, -math.inf) for token in banned)]:
        chain.add_biases(biases)
    if _penalizes(sampling):
        chain.add_penalties(sampling)
    if sampling.dry_multiplier > 0.0:
        chain.add_dry(sampling)
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed % 2**32
    if sampling.temperature <= 0:
        chain.add(llama_cpp.llama_sampler_init_greedy())
    elif sampling.mirostat:
        chain.add_temperature(sampling)
        chain.add_mirostat(sampling, seed)
    else:
        chain.add_truncation(sampling, seed)
        chain.add_temperature(sampling)
        chain.add(llama_cpp.llama_sampler_init_dist(seed))
    return chain.pointer


class LlamaSampler:
    """Implements `server.engine.backend.Sampler` on the logits of a llama.cpp context."""

    def __init__(
        self,
        request: Request,
        *,
        context_pointer: int,
        context: int,
        vocab: int,
        logits: Callable[[int], NDArray[np.float32]],
        piece: Callable[[int], bytes],
        is_end: Callable[[int], bool],
        ends: Callable[[], list[int]],
        vocab_size: int,
        constraint: Constraint | None,
    ) -> None:
        sampling = request.sampling
        # Where a constraint lets the text end there is often nothing else to choose.
        has_no_end = sampling.ignore_eos and constraint is None
        self._chain: int | None = build_chain(
            sampling,
            vocab=vocab,
            vocab_size=vocab_size,
            context=context,
            banned=ends() if has_no_end else [],
        )
        self._context_pointer = context_pointer
        self._logits = logits
        self._piece = piece
        self._is_end = is_end
        self._vocab_size = vocab_size
        self._constraint = constraint
        self._top = request.top_logprobs
        self._is_argmax = (
            sampling.temperature <= 0
            and not sampling.ignore_eos
            and not sampling.logit_bias
            and not _looks_back(sampling)
            and constraint is None
        )
        if _looks_back(sampling):
            self._prime(request)

    def sample(self, row: int) -> Sampled:
        if self._is_argmax:
            token = int(np.argmax(self._logits(row)))
        elif self._constraint is None:
            # Samples and accepts; accepting again would count the token twice.
            token = llama_cpp.llama_sampler_sample(self._chain, self._context_pointer, row)
        else:
            token = self._sample_constrained(row, self._constraint)
        is_end = self._is_end(token)
        return Sampled(
            token, b"" if is_end else self._piece(token), is_end, self._logprob(row, token)
        )

    def close(self) -> None:
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None

    def _prime(self, request: Request) -> None:
        """Show the prompt to what looks back, as llama.cpp's server does."""
        for token in request.tokens:
            llama_cpp.llama_sampler_accept(self._chain, token)

    def _sample_constrained(self, row: int, constraint: Constraint) -> int:
        logits = self._logits(row)
        token = self._choose(logits)
        if not constraint.allows(token):
            token = self._choose(
                np.where(constraint.mask(self._vocab_size), logits, np.float32(-np.inf))
            )
        llama_cpp.llama_sampler_accept(self._chain, token)
        constraint.accept(token)
        return token

    def _choose(self, logits: NDArray[np.float32]) -> int:
        """Apply the chain to these logits, without telling it what was chosen."""
        candidates = np.empty(self._vocab_size, dtype=_CANDIDATE)
        candidates["id"] = np.arange(self._vocab_size, dtype=np.int32)
        candidates["logit"] = logits
        candidates["p"] = 0.0
        array = llama_cpp.llama_token_data_array(
            data=candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data)),
            size=self._vocab_size,
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _logprob(self, row: int, token: int) -> Logprob | None:
        """From the model's own distribution, before the chain, as llama.cpp's server."""
        if self._top is None:
            return None
        logits = self._logits(row).astype(np.float64)
        peak = logits.max()
        logprobs = logits - peak - np.log(np.exp(logits - peak).sum())
        best: list[int] = []
        if self._top:
            top = np.argpartition(logprobs, -self._top)[-self._top :]
            best = [int(i) for i in top[np.argsort(-logprobs[top])]]
        return Logprob(
            self._token_logprob(token, float(logprobs[token])),
            tuple(self._token_logprob(i, float(logprobs[i])) for i in best),
        )

    def _token_logprob(self, token: int, logprob: float) -> TokenLogprob:
        raw = self._piece(token)
        return TokenLogprob(raw.decode(errors="replace"), raw, logprob)
