"""vLLM's own additions to OpenAI's wire: what is sent there and what comes back.

As in vLLM 0.32: `/tokenize`, `/detokenize` and `/tokenizer_info`, and `/v1/completions` with
tokens in and out.
"""

from typing import Any

import msgspec

from server.engine.types import Grammar, Sampling

# Ours that vLLM has nothing for.
IGNORED_OPTIONS = (
    "dynatemp_range",
    "typical_p",
    "top_n_sigma",
    "xtc_probability",
    "repeat_last_n",
    "dry_multiplier",
    "mirostat",
)
# vLLM takes biases between these; the lowest bans a token for all that matters.
_LEAST_BIAS, _MOST_BIAS = -100.0, 100.0
_LARGEST_SEED = 2**63 - 1


class Card(msgspec.Struct, frozen=True):
    """A model in `/v1/models`; `parent` names the model of an adapter."""

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class Cards(msgspec.Struct, frozen=True):
    """The reply of `/v1/models`."""

    data: list[Card]


class TokenizerInfo(msgspec.Struct, frozen=True):
    """The reply of `/tokenizer_info`, as far as it counts. Added tokens by their ids, several
    chat templates by their names."""

    chat_template: str | dict[str, str] | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    added_tokens_decoder: dict[str, str] = {}


class Tokenized(msgspec.Struct, frozen=True):
    """The reply of `/tokenize`."""

    tokens: list[int]
    max_model_len: int


class Detokenized(msgspec.Struct, frozen=True):
    """The reply of `/detokenize`."""

    prompt: str


class Logprobs(msgspec.Struct, frozen=True):
    """Of the tokens of a chunk: the chosen one's, and the best ones'."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []


class Choice(msgspec.Struct, frozen=True):
    """New text. `prompt_token_ids` come with the first of it, `stop_reason` is the stop string
    that ended it, or a token."""

    text: str = ""
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class CachedTokens(msgspec.Struct, frozen=True):
    """Part of the usage, with `--enable-prompt-tokens-details`."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """How many tokens there were."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: CachedTokens | None = None


class Timing(msgspec.Struct, frozen=True):
    """How long it took, with `--enable-per-request-metrics`. The time to the first token
    includes the queue."""

    time_to_first_token_ms: float | None = None
    generation_time_ms: float | None = None
    queue_time_ms: float | None = None


class Chunk(msgspec.Struct, frozen=True):
    """A line of the stream: new text, or at the end what it came to, or what went wrong."""

    choices: list[Choice] = []
    usage: Usage | None = None
    metrics: Timing | None = None
    error: Any = None


class Vector(msgspec.Struct, frozen=True):
    """One embedding, as the base64 of little-endian 32-bit floats."""

    index: int
    embedding: str


class Vectors(msgspec.Struct, frozen=True):
    """The reply of `/v1/embeddings`."""

    data: list[Vector]
    usage: Usage = Usage()


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """How tokens are chosen, in vLLM's words, all of it said: it has defaults of its own from
    the model's `generation_config.json`."""
    fields: dict[str, Any] = {
        "temperature": max(0.0, sampling.temperature),
        "top_k": max(0, sampling.top_k),
        "top_p": min(1.0, sampling.top_p) or 1.0,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repeat_penalty or 1.0,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "ignore_eos": sampling.ignore_eos,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed & _LARGEST_SEED
    if sampling.logit_bias:
        fields["logit_bias"] = {
            str(token): min(max(bias, _LEAST_BIAS), _MOST_BIAS)
            for token, bias in sampling.logit_bias
        }
    return fields


def structured_outputs(grammar: Grammar) -> dict[str, Any]:
    """A format in vLLM's words; its marks are placed already."""
    match grammar.kind:
        case "json":
            return {"json_object": True}
        case "schema":
            return {"json": grammar.text}
        case "regex":
            return {"regex": grammar.text}
        case "lark" | "gbnf":
            return {"grammar": grammar.text}
