"""Logprobs as OpenAI's replies tell them."""

from collections.abc import Sequence

import pytest

from server.api import openai_logprobs
from server.engine.types import Logprob, TokenLogprob


def tokens(*texts: str) -> Sequence[Logprob]:
    return [Logprob(TokenLogprob(text, text.encode(), -1.0)) for text in texts]


@pytest.mark.parametrize(
    ("text", "before", "of_text"),
    [
        ("answer", ["</think>", "\n\n"], ["ans", "wer"]),
        ("t", ["</think>"], ["t"]),
        ("answer", ["</think>"], ["\nanswer"]),
        ("a", [], ["a", "<held"]),
        (" ä", ["</"], [" ", "ä"]),
        ("\ufffd", [], ["a", "b"]),  # half a character: no token has these bytes
    ],
)
def test_logprobs_of_a_text(text: str, before: list[str], of_text: list[str]) -> None:
    found = openai_logprobs.from_text(text, tokens(*before, *of_text))
    assert [one.chosen.text for one in found] == of_text


def test_no_logprobs() -> None:
    assert openai_logprobs.from_text("a", ()) == ()


def test_a_token_that_could_not_come() -> None:
    never = TokenLogprob("a", b"a", float("-inf"))
    told = openai_logprobs.told(Logprob(never, (never,)))
    assert (told.logprob, told.top_logprobs[0].logprob) == (-9999.0, -9999.0)
