"""What must be known of a tokenizer that runs elsewhere: which texts are tokens of their own,
and how a prompt is handed to it so that only the template's are.

It reads every `<|im_end|>` as the control token, whoever wrote it. Where a user wrote one, the
text is cut inside it, and a token that the text has nowhere is put between the parts: the other
side reads what is around such a token part by part. It is taken out of the tokens again.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from server.chat.scanning import one_of
from server.engine.types import Segment
from server.errors import InvalidRequest
from server.models.ggml import FIM_TOKENS

# Added tokens that a reply does not show, by how they are written: the other side does not say
# which are special.
_SPECIAL = re.compile(
    r"<[|｜].*[|｜]>|</?s>|\[/?[A-Z_]+\]|<(pad|unk|bos|eos|end_of_turn)>", re.DOTALL
)


@dataclass(frozen=True)
class Vocabulary:
    """The added tokens: texts by id."""

    added: Mapping[int, str]
    _ids: dict[str, int] = field(init=False, repr=False)
    _pattern: re.Pattern[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = {text: token for token, text in self.added.items() if text}
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_pattern", re.compile(one_of(list(ids))) if ids else None)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are tokens of their own."""
        return tuple(self._ids)

    def token(self, text: str) -> int | None:
        """The token that a text is."""
        return self._ids.get(text)

    def hidden(self, token: int) -> str:
        """The text of a token that is left out of replies; empty if it is not."""
        text = self.added.get(token, "")
        return text if _SPECIAL.fullmatch(text) else ""

    @property
    def gap_texts(self) -> tuple[str, str, str] | None:
        """The texts for filling a gap: prefix, suffix, middle; None if it has not all three."""
        found = [next((text for text in texts if text in self._ids), "") for texts in FIM_TOKENS]
        return (found[0], found[1], found[2]) if all(found) else None

    def found_in(self, text: str) -> str:
        """The first of these texts that stands in another one; empty if none does."""
        found = self._pattern.search(text) if self._pattern else None
        return found[0] if found else ""

    def begins(self, text: str) -> str:
        """The one of these texts that another one begins with; empty if none does."""
        found = self._pattern.match(text) if self._pattern else None
        return found[0] if found else ""

    def marked(self, segments: Iterable[Segment]) -> tuple[str, int | None]:
        """The text of a prompt, and the token to be taken out of its tokens, if there is one.

        Raises `InvalidRequest` if none is left to be put between.
        """
        segments = list(segments)
        text = "".join(segment.text for segment in segments)
        cuts = self._cuts(text, segments)
        if not cuts:
            return text, None
        between = next((own for own in self._ids if own not in text), None)
        if between is None:
            raise InvalidRequest("the messages use all control tokens of the model")
        parts = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
        return between.join(parts), self._ids[between]

    def _cuts(self, text: str, segments: Sequence[Segment]) -> list[int]:
        """Where the text has to be cut: inside control tokens that are not the template's."""
        if self._pattern is None or all(segment.special for segment in segments):
            return []
        spans = _special_spans(segments)
        starts = [start for start, _ in spans]
        cuts = []
        for match in self._pattern.finditer(text):
            at = bisect_right(starts, match.start()) - 1
            if at < 0 or match.end() > spans[at][1]:
                cuts.append(match.start() + 1)
        return cuts


def _special_spans(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Where control tokens count: neighbours together."""
    spans: list[tuple[int, int]] = []
    end = 0
    for segment in segments:
        start, end = end, end + len(segment.text)
        if segment.special:
            if spans and spans[-1][1] == start:
                start, _ = spans.pop()
            spans.append((start, end))
    return spans
