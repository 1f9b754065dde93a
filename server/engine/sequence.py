"""A request while the engine works on it: counters and tokens, no policy."""

from dataclasses import dataclass, field

from server.engine.prefix import TokenArray, token_array
from server.engine.types import Finish, FinishReason, Request

# Ollama ends a request that sets no limit after ten contexts (facts of its runner);
# without one a model that never stops would hold a slot for ever.
CONTEXTS_WITHOUT_LIMIT = 10


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens of one request and how far they are computed.

    `tokens` holds the prompt and what was generated, less what a context shift
    dropped. The first `num_computed` of them have their keys and values in `slot`.
    A new token is appended when it is sampled and computed in the next step. Who was
    preempted has no slot, and all of its tokens are computed again.
    """

    id: int
    request: Request
    limit: int
    submitted_ns: int
    tokens: TokenArray = field(init=False)
    slot: int = -1
    num_computed: int = 0
    num_cached: int = 0
    num_output: int = 0
    num_shifted: int = 0
    admitted_ns: int = 0
    first_ns: int = 0

    def __post_init__(self) -> None:
        self.tokens = token_array(self.request.tokens)

    @property
    def num_prompt(self) -> int:
        """Tokens of the prompt as it came."""
        return len(self.request.tokens)

    @property
    def num_pending(self) -> int:
        """Tokens that are known but not computed; 1 while generating."""
        return len(self.tokens) - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """Whether its next step computes one token that it generated itself.

        Not so before its first token, and while it is read again after it was preempted.
        """
        return self.first_ns > 0 and self.num_pending == 1

    @property
    def max_tokens(self) -> int:
        """The most tokens that this request may generate."""
        cap = CONTEXTS_WITHOUT_LIMIT * self.limit
        asked = self.request.max_tokens
        return cap if asked is None else min(asked, cap)

    @property
    def is_over_limit(self) -> bool:
        """Whether the last token has no position left in the window."""
        return len(self.tokens) > self.limit

    @property
    def num_left(self) -> int:
        """Tokens that it may still generate before a limit or its window ends or shifts it."""
        return min(self.max_tokens - self.num_output, self.limit - len(self.tokens))

    def append(self, token: int) -> None:
        """Take over a sampled token."""
        self.tokens.append(token)
        self.num_output += 1

    def drop(self, keep: int, discard: int) -> None:
        """Drop `discard` tokens behind the first `keep`; the window has been full."""
        del self.tokens[keep : keep + discard]
        self.num_shifted += discard

    def finish(self, reason: FinishReason, now_ns: int, stop_string: str | None = None) -> Finish:
        """The numbers of this request, for its end at `now_ns`."""
        first_ns = self.first_ns or now_ns
        return Finish(
            reason=reason,
            stop_string=stop_string,
            prompt_tokens=self.num_prompt,
            cached_tokens=self.num_cached,
            output_tokens=self.num_output,
            shifted_tokens=self.num_shifted,
            queue_ns=self.admitted_ns - self.submitted_ns,
            prompt_ns=first_ns - self.admitted_ns,
            output_ns=now_ns - first_ns,
        )
