"""Choosing tokens from logits, under a constraint where there is one, and logprobs."""

from collections.abc import Callable

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from server.engine.backend import RequestError, Sampled
from server.engine.chain import Candidates, Chain
from server.engine.grammar import Constraint
from server.engine.image_tokens import text_tokens
from server.engine.llama_vocab import LlamaVocab
from server.engine.nucleus import nucleus
from server.engine.types import Logprob, Request, TokenLogprob


class LlamaSampler:
    """Implements `server.engine.backend.Sampler` on the logits of a llama.cpp context."""

    def __init__(
        self,
        request: Request,
        vocab: LlamaVocab,
        *,
        context_pointer: int,
        context: int,
        logits: Callable[[int], NDArray[np.float32]],
        constraint: Constraint | None,
    ) -> None:
        sampling = request.sampling
        # Where a constraint lets the text end there is often nothing else to choose.
        has_no_end = sampling.ignore_eos and constraint is None
        self._chain = Chain(
            sampling,
            vocab=vocab.pointer,
            vocab_size=vocab.size,
            context=context,
            banned=vocab.ends if has_no_end else [],
        )
        self._context_pointer = context_pointer
        self._logits = logits
        self._vocab = vocab
        self._constraint = constraint
        self._top = request.top_logprobs
        self._is_argmax = (
            sampling.temperature <= 0
            and not sampling.ignore_eos
            and not sampling.logit_bias
            and not self._chain.look_back
            and constraint is None
        )
        if self._chain.look_back:
            self._prime(request)

    def sample(self, row: int) -> Sampled:
        if self._is_argmax:
            token = int(np.argmax(self._logits(row)))
        elif self._constraint is None and self._chain.nucleus is None:
            # Samples and accepts; accepting again would count the token twice.
            token = llama_cpp.llama_sampler_sample(self._chain.back, self._context_pointer, row)
        else:
            token = self._sample_here(self._logits(row))
        is_end = self._vocab.is_end(token)
        raw = b"" if is_end else self._vocab.piece(token)
        return Sampled(token, raw, is_end, self._logprob(row, token))

    def close(self) -> None:
        self._chain.close()

    def _prime(self, request: Request) -> None:
        """Show the prompt to what looks back, as llama.cpp's server does."""
        for token in text_tokens(request.tokens)[-self._chain.look_back :]:
            self._chain.accept(token)

    def _sample_here(self, logits: NDArray[np.float32]) -> int:
        """What llama.cpp's own function does not do: a constraint, a nucleus."""
        token = self._choose(logits)
        if self._constraint is not None:
            if not self._constraint.allows(token):
                mask = self._constraint.mask(self._vocab.size)
                token = self._choose(np.where(mask, logits, np.float32(-np.inf)))
                if not mask[token]:
                    raise RequestError("the format and logit_bias leave no token to go on with")
            self._constraint.accept(token)
        self._chain.accept(token)
        return token

    def _choose(self, logits: NDArray[np.float32]) -> int:
        """Apply the chain to these logits, without telling it what was chosen."""
        tokens = np.arange(self._vocab.size, dtype=np.int32)
        if self._chain.nucleus is None:
            return self._chain.choose(Candidates(tokens, logits))
        if self._chain.has_front:
            candidates = Candidates(tokens, logits)
            self._chain.change(candidates)
            logits = candidates.logits(self._vocab.size)
        best = nucleus(logits, self._chain.nucleus)
        return self._chain.choose(Candidates(best, logits[best], is_sorted=True))

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
        raw = self._vocab.piece(token)
        return TokenLogprob(raw.decode(errors="replace"), raw, logprob)
