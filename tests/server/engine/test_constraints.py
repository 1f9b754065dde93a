"""A constraint is made once for each request, and no request has that of another."""

import random

import llguidance
import pytest

from server.engine.backend import RequestError
from server.engine.grammar import Constraint, Constraints
from server.engine.types import Grammar
from tests.support.byte_tokens import byte_tokenizer

ONE, OTHER = Grammar("regex", "a+b"), Grammar("regex", "[ab]+")
# The lexer has another state for each of the last two dozen letters.
GREEDY = Grammar("regex", "(?s:.*)a.{24}b(?s:.*)")
WRONG = Grammar("regex", "(")
A, B = b"ab"


class Counted:
    """Constraints over bytes; `num_made` were made so far."""

    def __init__(self) -> None:
        self.num_made = 0
        self._tokenizer = byte_tokenizer()
        self.constraints = Constraints(self._ask)

    def _ask(self) -> llguidance.LLTokenizer:
        self.num_made += 1
        return self._tokenizer


def use_up(constraint: Constraint) -> None:
    """Let it say random text until its lexer cannot grow any more."""
    choice = random.Random(1)
    while True:
        constraint.accept(choice.choice((A, B)))


def test_what_was_made_to_check_a_request_is_what_it_runs_with() -> None:
    counted = Counted()
    for grammar in (ONE, OTHER, ONE):
        counted.constraints.check(grammar)
    taken = [counted.constraints.take(grammar) for grammar in (OTHER, ONE, ONE)]
    assert counted.num_made == 3
    assert [constraint.allows(B) for constraint in taken] == [True, False, False]


def test_what_was_prepared_is_neither_made_to_check_nor_to_run() -> None:
    counted = Counted()
    counted.constraints.prepare(ONE)
    counted.constraints.check(ONE)
    assert counted.constraints.take(ONE).allows(A)
    assert counted.num_made == 1


def test_what_could_not_be_prepared_is_told_once_and_not_tried_again() -> None:
    counted = Counted()
    counted.constraints.prepare(WRONG)
    with pytest.raises(RequestError, match="format"):
        counted.constraints.check(WRONG)
    assert counted.num_made == 1


def test_requests_with_the_same_grammar_do_not_share_what_they_have_said() -> None:
    counted = Counted()
    counted.constraints.check(ONE)
    first, second = counted.constraints.take(ONE), counted.constraints.take(ONE)
    first.accept(A)
    assert (first.allows(B), second.allows(B)) == (True, False)
    assert counted.num_made == 2


def test_what_one_request_uses_up_another_one_still_has() -> None:
    constraints = Counted().constraints
    constraints.check(GREEDY)
    constraints.check(GREEDY)
    with pytest.raises(RequestError, match="too many"):
        use_up(constraints.take(GREEDY))
    for left in (constraints.take(GREEDY), constraints.take(GREEDY)):
        left.accept(A)


def test_of_requests_that_never_run_few_are_kept() -> None:
    counted = Counted()
    counted.constraints.prepare(ONE)
    for _ in range(100):
        counted.constraints.prepare(OTHER)
    assert counted.constraints.take(ONE).allows(A)
    assert counted.num_made == 102


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        (Grammar("schema", "{"), "format cannot be used: expected"),
        (Grammar("gbnf", "root"), "format is not a GBNF grammar"),
        (Grammar("schema", '{"type": "no such"}'), "format cannot be used"),
        (Grammar("lark", "start: nothing"), "format cannot be used"),
        (Grammar("regex", "("), "format cannot be used"),
    ],
)
def test_a_grammar_that_is_none_is_refused_with_the_reason(grammar: Grammar, told: str) -> None:
    constraints = Counted().constraints
    for refused in (constraints.check, constraints.take):
        with pytest.raises(RequestError, match=told):
            refused(grammar)
