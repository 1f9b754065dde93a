"""Guessing ahead: what followed the same few tokens before may follow them again.

A guess costs a row of the step. If the model chooses just that token, its logits are there
already, and the step has given two tokens for one. The choice is always the model's, so
the distribution is exactly that without guessing.
"""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from itertools import takewhile

from server.engine.config import Speculate
from server.engine.image_tokens import is_image
from server.engine.pace import Pace
from server.engine.sequence import Sequence

MOST_GUESSES = 8
_LONGEST_NGRAM, _SHORTEST_NGRAM = 3, 2
# Of a long text, what is said at its end is repeated most, and reading it all takes time.
_LONGEST_MEMORY = 8192
_WEIGHT = 0.2
# What a guess has to win at least, so that noise in the measured costs decides nothing.
_MIN_GAIN = 1.05
# When guessing has not paid, how many tokens later it is tried again.
_PAUSE_TOKENS = 64


@dataclass(slots=True)
class Lookup:
    """Where each n-gram of one sequence was seen last, and how good guesses have been.

    `acceptance` is the running share of guesses that were right.
    """

    acceptance: float = 0.5
    pause_until: int = 0
    _num_shifted: int = 0
    _next: dict[tuple[int, ...], int] = field(default_factory=dict)
    _num_seen: int = 0

    def guess(self, tokens: Tokens[int], most: int, num_shifted: int = 0) -> list[int]:
        """Up to `most` tokens of text that followed the last n-gram of `tokens` where it stood
        before.

        `num_shifted` is how many tokens the window has dropped so far.
        """
        self._read(tokens, num_shifted)
        for size in range(_LONGEST_NGRAM, _SHORTEST_NGRAM - 1, -1):
            start = self._next.get(tuple(tokens[-size:]))
            if start is not None:
                return list(takewhile(lambda t: not is_image(t), tokens[start : start + most]))
        return []

    def observe(self, num_guessed: int, num_accepted: int, num_output: int) -> None:
        """So many guesses were right, `num_output` tokens after the prompt."""
        # Behind a wrong guess the others were never compared.
        num_compared = min(num_guessed, num_accepted + 1)
        for index in range(num_compared):
            hit = 1.0 if index < num_accepted else 0.0
            self.acceptance += _WEIGHT * (hit - self.acceptance)
        if self.acceptance < 0.1:
            self.acceptance, self.pause_until = 0.5, num_output + _PAUSE_TOKENS

    def _read(self, tokens: Tokens[int], num_shifted: int) -> None:
        """Note every n-gram that something follows."""
        if num_shifted != self._num_shifted:
            self._next.clear()
            self._num_shifted, self._num_seen = num_shifted, 0
        self._num_seen = max(self._num_seen, len(tokens) - _LONGEST_MEMORY)
        for end in range(max(self._num_seen, _SHORTEST_NGRAM), len(tokens)):
            for size in range(_SHORTEST_NGRAM, min(_LONGEST_NGRAM, end) + 1):
                self._next[tuple(tokens[end - size : end])] = end
        self._num_seen = len(tokens)


class Speculation:
    """Whether and how far to guess, for all sequences of a loop."""

    def __init__(self, mode: Speculate, pace: Pace) -> None:
        self._mode = mode
        self._pace = pace
        self._lookups: dict[int, Lookup] = {}

    @property
    def is_on(self) -> bool:
        return self._mode != "off"

    def forget(self, sequence_id: int) -> None:
        """A sequence is over."""
        self._lookups.pop(sequence_id, None)

    def drafts(self, sequences: Tokens[Sequence], room: int) -> dict[int, list[int]]:
        """Guesses by sequence id for a step in which all these sequences decode and which has
        `room` more rows."""
        drafts: dict[int, list[int]] = {}
        num_rows, expected = len(sequences), float(len(sequences))
        for sequence in sequences:
            most = min(MOST_GUESSES, room, sequence.num_left - 1)
            draft = self._draft(sequence, most, num_rows, expected)
            if draft:
                drafts[sequence.id] = draft
                room -= len(draft)
                expected += _gain(self._lookups[sequence.id].acceptance, len(draft))
                num_rows += len(draft)
        return drafts

    def observe(self, sequence: Sequence, num_guessed: int, num_accepted: int) -> None:
        """The model chose so many of its guesses itself."""
        if lookup := self._lookups.get(sequence.id):
            lookup.observe(num_guessed, num_accepted, sequence.num_output)

    def _draft(self, sequence: Sequence, most: int, num_rows: int, expected: float) -> list[int]:
        lookup = self._lookups.setdefault(sequence.id, Lookup())
        if most <= 0 or sequence.num_output < lookup.pause_until:
            return []
        guess = lookup.guess(sequence.tokens, most, sequence.num_shifted)
        if self._mode == "on" or not guess:
            return guess
        sizes = range(len(guess), 0, -1)
        return next(
            (guess[:n] for n in sizes if self._pays(lookup.acceptance, n, num_rows, expected)), []
        )

    def _pays(self, acceptance: float, num_guesses: int, num_rows: int, expected: float) -> bool:
        """Whether `num_guesses` more rows bring more tokens than they cost time."""
        total = num_rows + num_guesses
        before, after = self._pace.decode_ns(num_rows), self._pace.decode_ns(total)
        if before is None or after is None or not self._pace.has_measured(total):
            return before is not None  # tried once, to measure it
        return (expected + _gain(acceptance, num_guesses)) / expected > _MIN_GAIN * after / before


def _gain(acceptance: float, num_guesses: int) -> float:
    """Tokens that so many guesses bring on average: each counts if all before it do."""
    return sum(acceptance**n for n in range(1, num_guesses + 1))
