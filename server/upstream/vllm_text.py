"""Prompts that vLLM gets as text, and makes tokens of only once.

What may have to be cut is tokenized there first, which costs a round trip before the first token.
A text that surely fits needs none: how many tokens it has is told with the beginning of the reply.
vLLM from 0.32 on makes room for the reply itself: it takes `max_tokens` for as many of them as
there is room for. Before that it refuses more.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from server.engine.types import ImageSegment, ModelInfo, PromptText, Segment
from server.upstream.vocabulary import Vocabulary

# Tokens that stand for no byte: those around a text, the space that some put in front of it.
_AROUND: Final = 8


def fits(
    segments: Sequence[Segment | ImageSegment],
    info: ModelInfo,
    context: int,
    max_tokens: int | None,
    *,
    makes_room: bool,
) -> bool:
    """Whether a prompt surely has room in the window, with as many tokens behind it as are asked
    for; a vLLM that `makes_room` finds out itself how many its own window has room for."""
    if max_tokens is not None and max_tokens <= 0:
        return False  # nothing is asked for but how long it is
    most = sum(most_tokens(each.text) for each in segments if isinstance(each, Segment)) + _AROUND
    if makes_room and context >= info.context:
        return most < info.context
    return max_tokens is not None and most + max_tokens <= context


def most_tokens(text: str) -> int:
    """More tokens than this no tokenizer makes of a text: each stands for a byte at least, of it
    or of what a form of Unicode makes of it, in which one character may become many."""
    if text.isascii():
        return len(text)
    forms = (text, unicodedata.normalize("NFKD", text))
    return sum(len(form.encode(errors="surrogatepass")) for form in forms)


def prompt_text(
    segments: Sequence[Segment | ImageSegment], info: ModelInfo, vocabulary: Vocabulary
) -> PromptText | None:
    """The prompt as one text; None if its tokens would not be those that they are to be, as where
    a user wrote a control token: vLLM takes each for one. Raises `InvalidRequest`."""
    texts = [segment for segment in segments if isinstance(segment, Segment)]
    if len(texts) < len(segments):
        return None
    text, between = vocabulary.marked(texts)
    if not text or between is not None:
        return None
    return _begun(text, info, vocabulary)


def _begun(text: str, info: ModelInfo, vocabulary: Vocabulary) -> PromptText | None:
    """The text with what begins a text in front of it once."""
    if not info.add_bos:
        return PromptText(text, begins=False)
    own = vocabulary.added.get(info.text_start[0], "")
    if own and vocabulary.begins(text) == own:
        return PromptText(text, begins=False)
    # vLLM puts there what belongs in front only together with what belongs behind.
    is_plain = own and own not in text and not info.text_end
    return PromptText(text, begins=True) if is_plain else None
