"""Choosing tokens: llama.cpp's sampler chain, one per request, and logprobs."""

import ctypes
import secrets
from collections.abc import Callable

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


def _penalties(sampling: Sampling) -> bool:
    return sampling.repeat_last_n != 0 and (
        sampling.repeat_penalty != 1.0
        or sampling.presence_penalty != 0.0
        or sampling.frequency_penalty != 0.0
    )


def build_chain(sampling: Sampling, vocab_size: int, context: int, banned: list[int]) -> int:
    """A sampler chain in llama.cpp's own order; the caller frees it.

    `banned` are tokens that must not be chosen (`ignore_eos`).
    """
    chain: int = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

    def add(sampler: int) -> None:
        llama_cpp.llama_sampler_chain_add(chain, sampler)

    if banned:
        biases = (llama_cpp.llama_logit_bias * len(banned))(
            *(llama_cpp.llama_logit_bias(token, -np.inf) for token in banned)
        )
        # llama.cpp copies the list.
        add(llama_cpp.llama_sampler_init_logit_bias(vocab_size, len(banned), biases))
    if _penalties(sampling):
        # llama.cpp makes room for as many tokens as it is told, 4 bytes each.
        last_n = context if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context)
        add(
            llama_cpp.llama_sampler_init_penalties(
                vocab_size,
                last_n,
                sampling.repeat_penalty,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            )
        )
    if sampling.temperature <= 0:
        add(llama_cpp.llama_sampler_init_greedy())
        return chain
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed % 2**32
    if sampling.mirostat:
        add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        tau, eta = sampling.mirostat_tau, sampling.mirostat_eta
        if sampling.mirostat == 1:
            add(llama_cpp.llama_sampler_init_mirostat(vocab_size, seed, tau, eta, _MIROSTAT_M))
        else:
            add(llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta))
        return chain
    if sampling.top_k > 0:
        add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1.0:
        add(llama_cpp.llama_sampler_init_typical(sampling.typical_p, _MIN_KEEP))
    if sampling.top_p < 1.0:
        add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, _MIN_KEEP))
    if sampling.min_p > 0.0:
        add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, _MIN_KEEP))
    add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
    add(llama_cpp.llama_sampler_init_dist(seed))
    return chain


class LlamaSampler:
    """Implements `server.engine.backend.Sampler` on the logits of a llama.cpp context."""

    def __init__(
        self,
        request: Request,
        *,
        context_pointer: int,
        context: int,
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
            sampling, vocab_size, context, ends() if has_no_end else []
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
            and not _penalties(sampling)
            and constraint is None
        )
        if _penalties(sampling):
            self._prime(request, sampling)

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

    def _prime(self, request: Request, sampling: Sampling) -> None:
        """Let the penalties see the end of the prompt, as llama.cpp's server does."""
        last_n = sampling.repeat_last_n
        tokens = request.tokens if last_n < 0 else request.tokens[-last_n:]
        for token in tokens:
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
