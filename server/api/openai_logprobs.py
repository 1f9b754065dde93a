"""Logprobs of tokens as OpenAI's replies tell them."""

from collections.abc import Sequence

from server.api.openai_objects import ContentLogprob, TokenLogprob
from server.engine import types as engine

_NEVER = -9999.0


def finite(logprob: float) -> float:
    """A logprob that JSON can say: OpenAI's number for a token that could not come."""
    return max(logprob, _NEVER)


def told(one: engine.Logprob) -> ContentLogprob:
    """A token of the reply and those that were considered."""
    return ContentLogprob(
        token=one.chosen.text,
        logprob=finite(one.chosen.logprob),
        bytes=list(one.chosen.raw),
        top_logprobs=[_token(token) for token in one.top],
    )


def from_text(text: str, logprobs: Sequence[engine.Logprob]) -> Sequence[engine.Logprob]:
    """Those from the token on in which the text begins. Tokens of the tag that ended a thought,
    or of the space behind it, come together with the first text that follows."""
    raw = b"".join(one.chosen.raw for one in logprobs)
    before = raw.rfind(text.encode())
    for at, one in enumerate(logprobs):
        before -= len(one.chosen.raw)
        if before < 0:
            return logprobs[at:]
    return ()


def _token(token: engine.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(token=token.text, logprob=finite(token.logprob), bytes=list(token.raw))
