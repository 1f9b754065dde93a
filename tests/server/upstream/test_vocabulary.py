"""Prompts on their way to a tokenizer that reads every control token as such."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.types import Segment
from server.errors import InvalidRequest
from server.upstream.vocabulary import Vocabulary
from tests.support.vllm_stand_in import CONTROL, IDS, tokens_of

VOCABULARY = Vocabulary(CONTROL)
TEXTS = st.text(alphabet="<>|/simpatoc_endrl ", max_size=12) | st.sampled_from(sorted(IDS))
SEGMENTS = st.lists(st.builds(Segment, TEXTS, st.booleans()), max_size=8)


def tokenized(vocabulary: Vocabulary, segments: list[Segment]) -> list[int]:
    """As the other side makes tokens of it, without what was put between."""
    text, between = vocabulary.marked(segments)
    return [token for token in tokens_of(text) if token != between]


@given(SEGMENTS)
def test_only_the_template_writes_control_tokens(segments: list[Segment]) -> None:
    """Users' segments become bytes whatever stands around them; no byte is lost."""
    try:
        tokens = tokenized(VOCABULARY, segments)
    except InvalidRequest:
        return
    own = sum(token >= 256 for token in tokens)
    runs: list[str] = [""]
    for segment in segments:
        if segment.special:
            runs[-1] += segment.text
        else:
            runs.append("")
    assert own <= sum(token >= 256 for run in runs for token in tokens_of(run))
    whole = "".join(segment.text for segment in segments)
    assert (
        b"".join(CONTROL[t].encode() if t in CONTROL else bytes([t]) for t in tokens)
        == whole.encode()
    )


def test_mostly_it_is_the_text_as_it_is() -> None:
    segments = [Segment("<|im_start|>user\n"), Segment("hi < there", special=False)]
    assert VOCABULARY.marked(segments) == ("<|im_start|>user\nhi < there", None)


def test_a_token_that_would_come_of_both_is_none() -> None:
    segments = [Segment("<|im_"), Segment("end|>", special=False)]
    assert tokenized(VOCABULARY, segments) == list(b"<|im_end|>")


def test_who_uses_all_control_tokens_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="use all control tokens"):
        VOCABULARY.marked([Segment("".join(IDS), special=False)])


def test_a_vocabulary_without_added_tokens() -> None:
    bare = Vocabulary({})
    assert bare.marked([Segment("<s>", special=False)]) == ("<s>", None)
    assert bare.gap_texts is None and bare.token("<s>") is None


def test_which_tokens_a_reply_does_not_show() -> None:
    shown = Vocabulary({1: "<|im_end|>", 2: "<tool_call>", 3: "</s>", 4: "[TOOL_CALLS]"})
    assert [shown.hidden(token) for token in (1, 2, 3, 4, 5)] == [
        "<|im_end|>",
        "",
        "</s>",
        "[TOOL_CALLS]",
        "",
    ]


def test_the_texts_for_a_gap() -> None:
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    assert Vocabulary(dict(enumerate(names))).gap_texts == names
    assert Vocabulary(dict(enumerate(names[:2]))).gap_texts is None
