"""A tokenizer of bytes with some control tokens, and what a grammar allows of them."""

import random
import re
from collections.abc import Sequence

import llguidance

from server.engine.grammar import Constraint
from server.engine.types import Grammar

END = 256


class _Bytes:
    """What llguidance asks of a tokenizer. Control tokens are read as such."""

    def __init__(self, control: Sequence[str]) -> None:
        self.eos_token_id = END
        self.bos_token_id = None
        self.tokens = [bytes([at]) for at in range(256)]
        self.tokens += [text.encode() for text in ("<end>", *control)]
        self.special_token_ids = range(END, len(self.tokens))
        self._ids = {text: END + 1 + at for at, text in enumerate(control)}
        self._pattern = re.compile("(" + "|".join(map(re.escape, control)) + ")")

    def __call__(self, raw: bytes) -> list[int]:
        found: list[int] = []
        for part in self._pattern.split(raw.decode()) if self._ids else [raw.decode()]:
            found += [self._ids[part]] if part in self._ids else part.encode()
        return found


def byte_tokenizer() -> llguidance.LLTokenizer:
    """One token for each byte, and one that ends the text."""
    return _tokenizer(_Bytes(()))


class ByteGrammar:
    """A grammar over bytes, in a vocabulary that has the `control` tokens."""

    def __init__(self, grammar: Grammar, control: Sequence[str] = ()) -> None:
        self._raw = _Bytes(control)
        self.size = len(self._raw.tokens)
        self._tokenizer = _tokenizer(self._raw)
        self._grammar = grammar

    def accepts(self, text: str) -> bool:
        """Whether the whole text may be written, and nothing has to follow."""
        constraint = Constraint(self._tokenizer, self._grammar)
        return self._takes(constraint, text) and bool(constraint.mask(self.size)[END])

    def begins(self, text: str) -> bool:
        """Whether a reply may begin with the text."""
        return self._takes(Constraint(self._tokenizer, self._grammar), text)

    def write(self, choice: random.Random, ideas: Sequence[str], limit: int = 2000) -> str | None:
        """A text of random allowed tokens; now and then one of `ideas`, where it may
        stand. None if it came to no end."""
        constraint = Constraint(self._tokenizer, self._grammar)
        written: list[int] = []
        while len(written) < limit:
            allowed = constraint.mask(self.size).nonzero()[0].tolist()
            if END in allowed and (len(allowed) == 1 or choice.random() < 0.5):
                return b"".join(self._raw.tokens[token] for token in written).decode()
            fresh = self._idea(allowed, choice, ideas)
            for token in fresh:
                if not constraint.allows(token):
                    break
                constraint.accept(token)
                written.append(token)
        return None

    def _idea(self, allowed: list[int], choice: random.Random, ideas: Sequence[str]) -> list[int]:
        special = [token for token in allowed if token > END]
        if special and choice.random() < 0.2:
            return [choice.choice(special)]
        if ideas and choice.random() < 0.5:
            idea = self._raw(choice.choice(ideas).encode())
            if idea[0] in allowed:
                return idea
        return [choice.choice([token for token in allowed if token != END])]

    def _takes(self, constraint: Constraint, text: str) -> bool:
        for token in self._raw(text.encode()):
            if not constraint.allows(token):
                return False
            constraint.accept(token)
        return True


def _tokenizer(raw: _Bytes) -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(raw), n_vocab=len(raw.tokens))
