"""Structured output: llguidance decides which tokens may come next.

The constraint stands beside the sampling chain. The token that the chain chose is
checked (2 µs); only when it is refused is the mask of all allowed tokens computed
(30 µs) and the choice made again.
"""

from functools import lru_cache

import llguidance
import numpy as np
from numpy.typing import NDArray

from server.engine.backend import RequestError
from server.engine.markers import place_markers
from server.engine.types import Grammar

# Any JSON object: what Ollama's "json" format promises.
_ANY_OBJECT = {"type": "object"}

# What llguidance says of a grammar that allows nothing more, not even to end.
_DEAD_END = "NoExtensionBias"

_NAMES = {
    "json": "JSON schema",
    "schema": "JSON schema",
    "regex": "regular expression",
    "lark": "Lark grammar",
    "gbnf": "GBNF grammar",
}


# A request's grammar is needed when it comes and when it runs, and many requests have the same.
@lru_cache(maxsize=32)
def compile_grammar(grammar: Grammar) -> str:
    """The grammar in llguidance's own form. Raises `RequestError` with its complaint."""
    try:
        compiled = _compile(grammar)
    except ValueError as error:
        raise RequestError(f"format is not a {_NAMES[grammar.kind]}: {error}") from None
    if complaint := llguidance.LLMatcher.validate_grammar(compiled):
        raise RequestError(f"format cannot be used: {_in_one_line(complaint)}")
    return compiled


def _compile(grammar: Grammar) -> str:
    match grammar.kind:
        case "json":
            return llguidance.LLMatcher.grammar_from_json_schema(_ANY_OBJECT)
        case "schema":
            return llguidance.LLMatcher.grammar_from_json_schema(grammar.text)
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(grammar.text)
        case "lark":
            return llguidance.LLMatcher.grammar_from_lark(grammar.text)
        case "gbnf":
            return llguidance.grammar_from("gbnf", grammar.text)


class Constraint:
    """What one request may say next. Made anew for each request."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, grammar: Grammar) -> None:
        if grammar.markers:
            text = place_markers(grammar.text, grammar.markers, tokenizer)
            grammar = Grammar(grammar.kind, text)
        self._matcher = llguidance.LLMatcher(tokenizer, compile_grammar(grammar), log_level=0)
        self._raise_on_error()

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        return self._matcher.validate_tokens([token]) == 1

    def mask(self, vocab_size: int) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocab_size,). Raises `RequestError` if none."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._raise_on_error()
        allowed = np.unpackbits(bits, bitorder="little").astype(np.bool_)[:vocab_size]
        if not allowed.any():
            raise RequestError("the format leaves no token to go on with")
        return allowed

    def accept(self, token: int) -> None:
        """`token` was chosen."""
        self._matcher.consume_token(token)
        self._raise_on_error()

    def _raise_on_error(self) -> None:
        if not self._matcher.is_error():
            return
        complaint = _in_one_line(self._matcher.get_error())
        if complaint == _DEAD_END:
            raise RequestError("the format leaves no token to go on with")
        raise RequestError(f"format cannot be used: {complaint}")


def _in_one_line(text: str) -> str:
    """The complaint without its quotation of the grammar; that of a regex has its reason last."""
    lines = text.strip().splitlines() or ["no reason given"]
    reasons = [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    return " ".join([lines[0], *reasons])
