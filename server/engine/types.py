"""What the HTTP process and the engine say to each other, without saying how.

A dialect ends up with a `Request`; the engine answers with `Piece`s and one
`Finish`, or raises a `server.errors.ServerError`. The same types serve an
upstream engine. All durations are nanoseconds of the monotonic clock.
"""

from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Literal, Protocol

import msgspec


class Segment(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A run of prompt text. `special`: whether control tokens in it count as such.

    Text of a template is special, text of a user never is: `<|im_end|>` typed by a
    user stays nine characters (facts of llama.cpp: `parse_special`).
    """

    text: str
    special: bool = True


class ImageSegment(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An image that stands between runs of text, as the bytes of its file.

    `server.limits.check_images` says what is allowed; whoever reads it checks it again.
    """

    data: bytes


class PromptText(msgspec.Struct, frozen=True):
    """A prompt for an engine that makes the tokens itself. Every control token in it counts.
    `begins`: the tokens that the vocabulary puts in front of a text are still to be put there."""

    text: str
    begins: bool


class PromptRead(msgspec.Struct, frozen=True):
    """The tokens that an engine made of a `PromptText`."""

    tokens: list[int]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen. The defaults change nothing but the temperature.

    In the order in which they are applied: `logit_bias` ((token, bias) pairs, -inf bans),
    penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature (with
    `dynatemp_range` it moves by so much with the entropy). Mirostat replaces all between
    penalties and temperature. `seed` None draws one; `temperature` <= 0 is greedy; a
    look-back (`repeat_last_n`, `dry_penalty_last_n`) of -1 is the whole context.
    """

    seed: int | None = None
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False


class Grammar(msgspec.Struct, frozen=True):
    """A constraint on the output: any JSON object, a JSON schema as JSON text, a regular
    expression, or a context-free grammar in Lark's or llama.cpp's (GBNF) notation.

    `markers` are texts that may be tokens of their own, which only the engine knows: a Lark
    text names the first `marker_0`, and any text up to and including it `until_0`. It holds
    for what is `given`, at the end of the prompt, and the output together.
    """

    kind: Literal["json", "schema", "regex", "lark", "gbnf"]
    text: str = ""
    markers: tuple[str, ...] = ()
    given: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One completion of one token sequence.

    `max_tokens` None runs until the model stops (the engine caps it at ten
    contexts, as Ollama does). `top_logprobs` None: no logprobs; n: the chosen
    token's and the n best. `num_keep` and `shift` say what happens when the context
    is full while generating: drop the older half behind the first `num_keep`
    tokens, or end with `length`. `owner` is the name of the key, for fairness.
    `context` is the window of this request in tokens, at most the model's. `markers` are
    texts of control tokens that are written out where the model says them; all others
    are left out of the text. `images` are the files of the images in `tokens`, in any
    order: they are read again if they were forgotten. `text` stands in the place of `tokens`
    if the engine has taken the prompt as one (`LoadedModel.as_text`).
    """

    tokens: Sequence[int]
    text: PromptText | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    top_logprobs: int | None = None
    num_keep: int = 0
    shift: bool = True
    context: int | None = None
    owner: str = ""
    markers: tuple[str, ...] = ()
    images: tuple[bytes, ...] = ()


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """`text` is the token alone, `raw` its bytes (a token may be half a character)."""

    text: str
    raw: bytes
    logprob: float


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token and, if asked for, the best ones, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """New text of a running request. `text` may be empty (half a character, or the
    beginning of a stop string), then only `tokens` counts."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...] = ()


class FinishReason(StrEnum):
    """Why a request ended. A stop string is told from the model's own end."""

    EOS = "eos"
    STOP_STRING = "stop_string"
    LENGTH = "length"


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a request. `prompt_tokens` counts cached ones too. `tokens` are those of prompt
    and output, if the engine makes prompts itself and tells them."""

    reason: FinishReason
    stop_string: str | None = None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    shifted_tokens: int = 0
    queue_ns: int
    prompt_ns: int
    output_ns: int
    tokens: tuple[int, ...] = ()


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to be turned into vectors, as tokens, none of them empty.

    `dimensions`: only so many of the leading components are wanted; a vector that has no
    more is left as it is.
    """

    inputs: Sequence[Sequence[int]]
    dimensions: int | None = None


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of a request in the order of its inputs.

    Each is little-endian 32-bit floats, of length 1. `prompt_tokens` counts all inputs.
    """

    vectors: tuple[bytes, ...]
    prompt_tokens: int
    queue_ns: int


class EngineCounts(msgspec.Struct, array_like=True):
    """What an engine has done since the model was loaded; these only grow.

    `drafted_tokens` were guessed by speculation, `accepted_tokens` are those of them that the
    model chose itself.
    """

    num_parked: int = 0
    num_restored: int = 0
    num_steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    shifted_tokens: int = 0
    num_preempted: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


# msgspec freezes what it inherits, too; dataclasses, by whose rules mypy goes, could not.
class EngineStats(EngineCounts, frozen=True, array_like=True):  # type: ignore[misc]
    """The load of an engine now, beside what it has done. A cell holds the keys and values of
    one token."""

    num_running: int = 0
    num_waiting: int = 0
    num_cells_used: int = 0
    num_cells: int = 0
    parked_bytes: int = 0


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a loaded model, read by the runner from the model itself.

    `context` is tokens per request as loaded, `context_train` what the model was
    trained for. `tool_template` is a second chat template, for conversations with tools, if
    it brings one. `control_tokens` are the texts that would be special if a template
    wrote them. `fim` are the fill-in-the-middle texts (prefix, suffix, middle).
    `text_start` and `text_end` are the tokens that its vocabulary puts around a text that
    stands alone. A model that cannot `generate` gives embeddings and nothing else.
    `has_vision`: it reads images. `ignored_options` are fields of `Sampling` that make no
    difference to it.
    """

    architecture: str
    context: int
    context_train: int
    parallel: int
    vocab_size: int
    size_bytes: int
    memory_bytes: int
    bos: str
    eos: str
    add_bos: bool
    chat_template: str | None
    control_tokens: tuple[str, ...]
    fim: tuple[str, str, str] | None
    can_shift: bool
    text_start: tuple[int, ...] = ()
    text_end: tuple[int, ...] = ()
    can_generate: bool = True
    tool_template: str | None = None
    has_vision: bool = False
    ignored_options: tuple[str, ...] = ()


class LoadedModel(Protocol):
    """A model that is ready to answer, wherever it runs."""

    @property
    def info(self) -> ModelInfo: ...

    async def tokenize(
        self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool
    ) -> list[int]:
        """Token ids of the segments in order; BOS first if the model wants one and
        `add_bos` (never twice). Those of an image are negative (`image_tokens`).

        Raises `InvalidRequest` for an image that cannot be read, or that this model cannot see.
        """

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of the tokens, control tokens written out.

        Raises `InvalidRequest` for an id that is not in the vocabulary.
        """

    def as_text(
        self, segments: Sequence[Segment | ImageSegment], *, context: int, max_tokens: int | None
    ) -> PromptText | None:
        """The prompt as `generate` may get it without its tokens; None if it is to be tokenized
        first, as where it may not fit into `context` with as many tokens as are asked for."""

    def generate(self, request: Request) -> AsyncGenerator[PromptRead | Piece | Finish]:
        """Pieces, then exactly one `Finish`; before them the tokens of a prompt that was text.
        Closing the iterator cancels the request and frees its slot. Raises `ServerError`s,
        before or between pieces."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors of all inputs; cancelling it cancels the work. Raises `ServerError`s:
        one input that fails fails the request."""
