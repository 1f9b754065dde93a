"""What the HTTP process and a runner process send each other.

Length-prefixed msgpack of tagged msgspec structs. One `Step` per engine step carries
the news of all sequences in it.
"""

from typing import Literal

import msgspec

from server.engine.config import EngineConfig
from server.engine.frames import pack
from server.engine.types import (
    Embeddings,
    EmbedRequest,
    EngineStats,
    Finish,
    ImageSegment,
    ModelInfo,
    Piece,
    Request,
    Segment,
)

FailureKind = Literal["invalid_request", "context_exceeded", "overloaded", "engine_crashed"]


class Load(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The first message: which file to load, how, with which LoRA adapters (path, scale),
    and with which projector of images, if any."""

    path: str
    config: EngineConfig
    adapters: tuple[tuple[str, float], ...] = ()
    projector: str = ""


class Submit(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Start a request under an id that was not used before."""

    id: int
    request: Request


class Abort(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Nobody waits for this request any more. Unknown ids are ignored."""

    id: int


class Embed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Embedded` or `NotEmbedded`, unless it is aborted."""

    id: int
    request: EmbedRequest


class Tokenize(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Tokens` or `Refused`."""

    id: int
    segments: tuple[Segment | ImageSegment, ...]
    add_bos: bool


class Detokenize(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Text` or `Refused`."""

    id: int
    tokens: tuple[int, ...]


class Ping(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answered by `Pong`, also while a step runs, once the model is loaded."""


ToRunner = Load | Submit | Abort | Embed | Tokenize | Detokenize | Ping


class LoadProgress(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The part of the weights that is loaded, 0 to 1; it only grows."""

    fraction: float


class Loaded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The model is ready."""

    info: ModelInfo
    load_ns: int


class LoadRefused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The model cannot be loaded; the runner ends."""

    message: str


class Tokens(msgspec.Struct, frozen=True, tag=True, array_like=True):
    id: int
    tokens: list[int]


class Text(msgspec.Struct, frozen=True, tag=True, array_like=True):
    id: int
    text: str


class Pong(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The age of the running step (0: none runs) and the memory that the process takes."""

    step_ns: int
    memory_bytes: int


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A `Tokenize` or `Detokenize` that cannot be answered."""

    id: int
    message: str


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A request that ended without a `Finish`."""

    kind: FailureKind
    message: str


class Embedded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    id: int
    embeddings: Embeddings


class NotEmbedded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An `Embed` that failed as a whole."""

    id: int
    failure: Failure


class Step(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The news of one step, per request id, and the counters after it."""

    pieces: list[tuple[int, Piece]]
    finished: list[tuple[int, Finish]]
    failed: list[tuple[int, Failure]]
    stats: EngineStats


FromRunner = (
    LoadProgress
    | Loaded
    | LoadRefused
    | Tokens
    | Text
    | Refused
    | Embedded
    | NotEmbedded
    | Pong
    | Step
)

_encoder = msgspec.msgpack.Encoder()
decode_to_runner = msgspec.msgpack.Decoder(ToRunner).decode
decode_from_runner = msgspec.msgpack.Decoder(FromRunner).decode


def encode(message: ToRunner | FromRunner) -> bytes:
    """One frame."""
    return pack(_encoder.encode(message))
