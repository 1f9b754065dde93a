"""Structured output: llguidance decides which tokens may come next.

The constraint stands beside the sampling chain. The token that the chain chose is
checked (2 µs); only when it is refused is the mask of all allowed tokens computed
(30 µs) and the choice made again.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

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


# How many constraints wait between the check of a request and its turn. A large schema takes
# 3 MB of memory; without its constraint a request makes it again.
_MOST_WAITING = 16


def compile_grammar(grammar: Grammar) -> str:
    """The grammar in llguidance's own form. Raises `RequestError` with its complaint: a matcher
    has some of them only when it is used, which would be in the middle of a reply."""
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
    """What one request may say next.

    Made anew for each request, which takes 15 ms for a large schema. llguidance could copy one in
    no time, but the copies share how much their lexer may grow: when others have used that up,
    one that has said nothing yet fails.
    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, grammar: Grammar) -> None:
        given = grammar.given
        if grammar.markers:
            text = place_markers(grammar.text, grammar.markers, partial(special_token, tokenizer))
            grammar = Grammar(grammar.kind, text)
        self._matcher = llguidance.LLMatcher(tokenizer, compile_grammar(grammar), log_level=0)
        self._raise_on_error()
        # Just these characters, whatever the vocabulary puts in front of a text.
        tokens = tokenizer.greedy_tokenize(given)
        if self._matcher.try_consume_tokens(tokens) < len(tokens):
            raise RequestError("the format does not allow what the reply begins with already")

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


class Constraints:
    """Makes the constraints of requests. What was made to prepare or to check one waits for its
    turn. Thread-safe."""

    def __init__(self, tokenizer: Callable[[], llguidance.LLTokenizer]) -> None:
        """`tokenizer` is asked for with the first grammar."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Grammar, Constraint | RequestError]] = deque(
            maxlen=_MOST_WAITING
        )

    def prepare(self, grammar: Grammar) -> None:
        """Make the constraint for a `check` that follows; what is wrong is told there."""
        self._keep(grammar, self._make(grammar))

    def check(self, grammar: Grammar) -> None:
        """Raise `RequestError` for a grammar that cannot be used."""
        self._keep(grammar, self.take(grammar))

    def take(self, grammar: Grammar) -> Constraint:
        """One that nobody else has. Raises `RequestError`."""
        made = self._find(grammar) or self._make(grammar)
        if isinstance(made, RequestError):
            raise made
        return made

    def _make(self, grammar: Grammar) -> Constraint | RequestError:
        try:
            return Constraint(self._tokenizer(), grammar)
        except RequestError as error:
            return error

    def _keep(self, grammar: Grammar, made: Constraint | RequestError) -> None:
        with self._lock:
            self._waiting.append((grammar, made))

    def _find(self, grammar: Grammar) -> Constraint | RequestError | None:
        """What waits for a request with this grammar; it waits no more."""
        with self._lock:
            for waiting in self._waiting:
                if waiting[0] == grammar:
                    self._waiting.remove(waiting)
                    return waiting[1]
        return None


def special_token(tokenizer: llguidance.LLTokenizer, mark: str) -> int | None:
    """The special token that a mark is."""
    tokens = tokenizer.tokenize_str(mark, parse_special=True)
    return tokens[0] if len(tokens) == 1 and tokenizer.is_special_token(tokens[0]) else None


def _in_one_line(text: str) -> str:
    """The complaint without its quotation of the grammar; that of a regex has its reason last."""
    lines = text.strip().splitlines() or ["no reason given"]
    reasons = [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    return " ".join([lines[0], *reasons])
