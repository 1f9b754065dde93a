"""The numbers and choices of OpenAI's requests: which are allowed, and what they mean here.

OpenAI's ranges hold, as its clients expect, and one clear error names the field. Options
rank: field of the request > `options` of the request > PARAMETER of the model > OpenAI's
default (temperature 1, top_p 1) > built-in.
"""

from typing import Any, NamedTuple

import msgspec

from server import limits
from server.api import ollama_fields, openai_efforts
from server.api.openai_errors import InvalidField
from server.api.openai_types import ChatBody, GenerationBody
from server.api.options import HOSTED_DEFAULTS, Options
from server.api.requests import Generation, Think
from server.caller import Caller
from server.engine.types import Grammar
from server.errors import InvalidRequest

CHAT_DEFAULTS = HOSTED_DEFAULTS
COMPLETION_DEFAULTS = msgspec.structs.replace(HOSTED_DEFAULTS, num_predict=16)
MAX_TOP_LOGPROBS = 20
_LARGEST_BIAS = 100.0


class Range(NamedTuple):
    """The option that a field sets, and the values that it may have."""

    option: str
    least: float
    most: float


_INT64 = 2.0**63
_RANGES = {
    "temperature": Range("temperature", 0, 2),
    "top_p": Range("top_p", 0, 1),
    "presence_penalty": Range("presence_penalty", -2, 2),
    "frequency_penalty": Range("frequency_penalty", -2, 2),
    "seed": Range("seed", -_INT64, _INT64),
    "num_ctx": Range("num_ctx", 1, _INT64),
    "top_k": Range("top_k", -1, _INT64),
    "min_p": Range("min_p", 0, 1),
    "typical_p": Range("typical_p", 0, 1),
    "repetition_penalty": Range("repeat_penalty", 0.01, 100),
    "repeat_penalty": Range("repeat_penalty", 0.01, 100),
}


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raise `InvalidField` unless the value lies between the two; infinity does not."""
    if not least <= value <= most:
        raise InvalidField(name, f"{name} must be between {least:g} and {most:g}")


def model_name(name: str | None) -> str:
    """The model that was asked for. Raises `InvalidField` if none was."""
    if not name or not name.strip():
        raise InvalidField("model", "model is required")
    return name


def generation(
    body: GenerationBody,
    *,
    defaults: Options,
    max_tokens: tuple[str, int | None],
    form: Grammar | None,
    top_logprobs: int | None,
    caller: Caller,
) -> Generation:
    """What the core wants to know. `max_tokens` comes with the name of its field. Raises
    `InvalidField` and other `InvalidRequest`s."""
    return Generation(
        options=_options(body, *max_tokens),
        defaults=defaults,
        format=form,
        keep_alive_s=keep_alive(body.keep_alive),
        truncate=body.truncate is not False,
        shift=body.shift is not False,
        top_logprobs=top_logprobs,
        caller=caller,
    )


def keep_alive(value: Any) -> float | None:
    """Ollama's field: seconds, `FOREVER`, or None if the request does not say."""
    try:
        return ollama_fields.keep_alive(value)
    except InvalidRequest as error:
        raise InvalidField("keep_alive", error.message) from None


def options(values: dict[str, Any] | None) -> Options:
    """Ollama's `options` in a body of OpenAI's."""
    try:
        return ollama_fields.options(values or {})
    except InvalidRequest as error:
        raise InvalidField("options", error.message) from None


def num_choices(body: GenerationBody) -> int:
    """How many replies to each prompt."""
    count = 1 if body.n is None else body.n
    check_range("n", count, 1, limits.MAX_CHOICES)
    return count


def with_seed_of(generation: Generation, choice: int) -> Generation:
    """The same for another of several replies: each has a seed of its own, so that they
    differ and can be had again."""
    seed = generation.options.seed
    if not choice or not isinstance(seed, int) or seed < 0:
        return generation
    moved = msgspec.structs.replace(generation.options, seed=seed + choice)
    return msgspec.structs.replace(generation, options=moved)


def think(body: ChatBody) -> Think:
    """Whether, and how much, the model was asked to think."""
    effort = body.reasoning_effort or (body.reasoning and body.reasoning.effort)
    if effort:
        return openai_efforts.think("reasoning_effort", effort)
    flags = body.chat_template_kwargs
    if flags is None:
        return None
    return flags.thinking if flags.enable_thinking is None else flags.enable_thinking


def top_logprobs(wanted: bool | None, count: int | None) -> int | None:
    """As in `Generation`."""
    if count is None:
        return 0 if wanted else None
    check_range("top_logprobs", count, 0, MAX_TOP_LOGPROBS)
    if not wanted:
        raise InvalidField("top_logprobs", "top_logprobs needs logprobs to be true")
    return count


def _options(body: GenerationBody, limit_name: str, max_tokens: int | None) -> Options:
    set_: dict[str, Any] = {}
    for name, (option, least, most) in _RANGES.items():
        value = getattr(body, name)
        if value is not None:
            check_range(name, value, least, most)
            set_[option] = value
    if max_tokens is not None:
        set_["num_predict"] = _limit(limit_name, max_tokens)
    if body.ignore_eos is not None:
        set_["ignore_eos"] = body.ignore_eos
    if body.stop is not None:
        set_["stop"] = _stop(body.stop)
    if body.logit_bias is not None:
        set_["logit_bias"] = _biases(body.logit_bias)
    return msgspec.structs.replace(options(body.options), **set_)


def _limit(name: str, count: int) -> int:
    """At least one token; -1 is as many as the model likes, as in llama.cpp."""
    if count < 1 and count != -1:
        raise InvalidField(name, f"{name} must be at least 1, or -1 for no limit")
    return count


def _stop(value: str | list[str]) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    stop = tuple(text for text in texts if text)
    limits.check_stop(stop)
    return stop


def _biases(value: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    try:
        biases = ollama_fields.options({"logit_bias": value}).logit_bias
    except InvalidRequest as error:
        raise InvalidField("logit_bias", error.message) from None
    found = biases if isinstance(biases, tuple) else ()
    for _, bias in found:
        if bias != -float("inf"):
            check_range("logit_bias", bias, -_LARGEST_BIAS, _LARGEST_BIAS)
    return found
