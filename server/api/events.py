"""What the core answers, for the dialects to write down."""

from collections.abc import AsyncGenerator, Mapping

import msgspec

from server.chat.tools import ToolCall
from server.engine.types import FinishReason, Logprob
from server.models.pull import Progress


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The first event: the prompt is made. `prompt_tokens` None: `Counted` tells them, before
    anything is said. `context` is the window in force,
    `asked_context` the one that was asked for, `has_template` False if a plain layout
    stands in for the model's missing chat template, `ignored` are options that the engine does
    not know, `quota` what the caller has left, as
    header fields."""

    prompt_tokens: int | None
    truncated_tokens: int
    context: int
    asked_context: int | None
    has_template: bool = True
    ignored: tuple[str, ...] = ()
    quota: Mapping[str, str] = {}


class Counted(msgspec.Struct, frozen=True):
    """How many tokens the prompt has, where that was not known when it was sent."""

    prompt_tokens: int


class Delta(msgspec.Struct, frozen=True):
    """New text of the answer, with the logprobs of its tokens if they were asked for."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class Thinking(msgspec.Struct, frozen=True):
    """New text of what the model thinks before it answers; `logprobs` as in `Delta`."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class Called(msgspec.Struct, frozen=True):
    """A function is called; the call is whole. `index` counts the calls of the reply."""

    index: int
    call: ToolCall
    logprobs: tuple[Logprob, ...] = ()


# What a reply says, piece by piece.
Said = Delta | Thinking | Called


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The last event. `tokens` are those of prompt and output, without BOS; of the output
    `thinking_tokens` are those of thoughts, with their tags."""

    reason: FinishReason
    stop_string: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    thinking_tokens: int = 0
    truncated_tokens: int
    shifted_tokens: int
    total_ns: int
    load_ns: int
    prompt_ns: int
    output_ns: int
    tokens: list[int]


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of an embedding. `vectors` as in `engine.types.Embeddings`."""

    vectors: tuple[bytes, ...]
    prompt_tokens: int
    truncated_tokens: int
    total_ns: int
    load_ns: int


class OfChoice(msgspec.Struct, frozen=True):
    """What one of several replies to the same request says; `index` counts them."""

    index: int
    event: "Event"


Event = Started | Counted | Delta | Thinking | Called | Done | Embedded | Progress | OfChoice
Events = AsyncGenerator[Event, None]
