"""The seam between pure scheduling and a model: what a backend can do.

One thread owns a backend. Only `interrupt` and `prepare` may be called from another one.
"""

from collections.abc import Sequence, Sized
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from server.engine.types import ImageSegment, Logprob, ModelInfo, Request, Segment

NO_VISION = "this model does not take images"


class Row(NamedTuple):
    """One token of a batch: `slot` and `position` say where its cell goes.

    The position is the number of tokens before it, whatever it is for the model.
    """

    slot: int
    position: int
    token: int
    wants_logits: bool


class Decoded(Enum):
    """How a decode step ended. After anything but OK the cells of the batch are undefined
    beyond what was known before; `trim` brings them back."""

    OK = "ok"
    INTERRUPTED = "interrupted"
    NO_SPACE = "no_space"
    REFUSED = "refused"


class LoadError(Exception):
    """The model cannot be loaded; the text is for the person who asked."""


class RequestError(Exception):
    """This request cannot be done (grammar, token ids); the text is for the client."""


class Sampled(NamedTuple):
    """A chosen token. `is_end` if it ends the text, then `raw` is not to be shown."""

    token: int
    raw: bytes
    is_end: bool
    logprob: Logprob | None


class EmbedShape(NamedTuple):
    """What a batch of `embed` holds: `rows` tokens of `lanes` inputs.

    Where an input cannot be split over several batches, one alone may fill a whole
    context.
    """

    rows: int
    lanes: int
    can_split: bool


class Part(NamedTuple):
    """Tokens of one input, from position `start` on; they end it if `is_last`.

    Whoever reads on in an input uses the same lane in the very next batch.
    """

    lane: int
    start: int
    tokens: Sequence[int]
    is_last: bool


class EmbedError(Exception):
    """No vectors: there is no room for a context, or llama.cpp refused the batch."""


class Sampler(Protocol):
    """Chooses the tokens of one request; keeps penalties, grammar and random state."""

    def sample(self, row: int) -> Sampled:
        """Choose from the logits of row `row` of the last batch, and remember the choice.

        Raises `RequestError` when the grammar leaves no token.
        """

    def close(self) -> None:
        """Free what belongs to C. May be called twice."""


class Backend(Protocol):
    """A loaded model with `num_slots` slots.

    Each has `info.context` cells of its own, or all share `num_cells` if that is not None.
    """

    @property
    def info(self) -> ModelInfo: ...

    @property
    def num_slots(self) -> int: ...

    @property
    def num_cells(self) -> int | None: ...

    @property
    def can_rewind(self) -> bool:
        """Whether `trim` can take back tokens of a slot, so that others may begin like it."""

    @property
    def survives_failure(self) -> bool:
        """Whether a decode that was interrupted or found no space leaves all cells but its own
        as they were."""

    def tokenize(self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool) -> list[int]:
        """Token ids of the segments; BOS in front once if the model wants it.

        Raises `RequestError` for an image that cannot be read here.
        """

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text with control tokens written out. Raises `RequestError` on unknown ids."""

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """Raise `RequestError` unless every id is in the vocabulary."""

    def has_encoded(self, tokens: Sequence[int]) -> bool:
        """Whether the image of these tokens may be in the next `decode`."""

    def encode(self, tokens: Sequence[int], images: Sequence[bytes]) -> None:
        """Look at the image of these tokens, which is in one of these files. Blocks for as long
        as it takes, and cannot be interrupted. Raises `RequestError`."""

    def prepare(self, request: Request) -> None:
        """Do now what takes long in the `check_request` that follows, which tells what is wrong.
        Thread-safe."""

    def check_request(self, request: Request) -> None:
        """Raise `RequestError` for what would fail however long it waits: ids that are not in
        the vocabulary, a grammar that is none."""

    def sampler(self, request: Request) -> Sampler:
        """A sampler primed with the prompt. Raises `RequestError` for a bad grammar."""

    def decode(self, rows: Sequence[Row]) -> Decoded:
        """Compute a batch; rows of a slot are contiguous and in order of position.

        There may be one image, with all of its rows, behind all rows of text; its slot has no
        other rows.
        """

    def fork(self, source: int, target: int, length: int) -> bool:
        """Let slot `target` hold the first `length` tokens of `source`: the same cells where
        memory is shared, else a copy, which may be made in the next decode only. False: the
        memory cannot do that, and the target is empty now."""

    def save(self, slot: int) -> Sized | None:
        """The state of a slot as bytes of the host; None if it cannot be had now."""

    def restore(self, slot: int, state: Sized) -> bool:
        """Replace what a slot holds by what was saved. False: the slot is empty now."""

    def trim(self, slot: int, length: int) -> bool:
        """Keep the first `length` positions of a slot. False: the memory cannot do that,
        and the slot is empty now."""

    def shift(self, slot: int, keep: int, discard: int) -> None:
        """Drop `discard` positions behind the first `keep` and close the gap."""

    def embed_shape(self) -> EmbedShape:
        """What `embed` takes. The first call makes ready for it. Raises `EmbedError`."""

    def embed(self, parts: Sequence[Part]) -> list[NDArray[np.float32]] | None:
        """Compute a batch; the pooled outputs of the inputs that end in it, in its order.

        None: it was interrupted, and every input in it has to start over. Raises
        `EmbedError`.
        """

    def interrupt(self) -> None:
        """End a running `decode` or `embed` soon. Thread-safe; sticky until `arm`."""

    def arm(self) -> None:
        """Take back an `interrupt`."""
