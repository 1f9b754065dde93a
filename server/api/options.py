"""Sampling and window options: what each does, merged from built-in, model and request.

The vocabulary is Ollama's because stored models speak it too; other dialects fill in
the same struct. A value that makes no sense is refused, one beyond what can make a
difference is clamped.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from server import limits
from server.engine.types import Sampling
from server.errors import InvalidRequest

SMALLEST_CONTEXT = 4
_LARGEST = 2**31 - 1
# Below this the logits divided by it leave the range of 32-bit floats, and the choice
# would be noise where it should be the best token.
_SMALLEST_TEMPERATURE = 1e-6

N = TypeVar("N", int, float)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of options; what is UNSET is left to the layer below.

    `num_predict` < 0 runs until the model stops, `seed` < 0 draws one,
    `num_ctx` is the window asked for.
    """

    num_keep: int | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    num_predict: int | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    mirostat: int | UnsetType = UNSET
    mirostat_tau: float | UnsetType = UNSET
    mirostat_eta: float | UnsetType = UNSET
    stop: tuple[str, ...] | UnsetType = UNSET
    num_ctx: int | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET
    top_n_sigma: float | UnsetType = UNSET
    xtc_probability: float | UnsetType = UNSET
    xtc_threshold: float | UnsetType = UNSET
    dynatemp_range: float | UnsetType = UNSET
    dynatemp_exponent: float | UnsetType = UNSET
    dry_multiplier: float | UnsetType = UNSET
    dry_base: float | UnsetType = UNSET
    dry_allowed_length: int | UnsetType = UNSET
    dry_penalty_last_n: int | UnsetType = UNSET
    dry_sequence_breakers: tuple[str, ...] | UnsetType = UNSET
    logit_bias: tuple[tuple[int, float], ...] | UnsetType = UNSET


# What OpenAI and Anthropic say of requests that say nothing.
HOSTED_DEFAULTS = Options(temperature=1.0, top_p=1.0)

BUILT_IN = Options(
    num_keep=4,
    seed=-1,
    num_predict=-1,
    top_k=40,
    top_p=0.9,
    min_p=0.0,
    typical_p=1.0,
    repeat_last_n=64,
    temperature=0.8,
    repeat_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    mirostat=0,
    mirostat_tau=5.0,
    mirostat_eta=0.1,
    stop=(),
    ignore_eos=False,
    top_n_sigma=-1.0,
    xtc_probability=0.0,
    xtc_threshold=0.1,
    dynatemp_range=0.0,
    dynatemp_exponent=1.0,
    dry_multiplier=0.0,
    dry_base=1.75,
    dry_allowed_length=2,
    dry_penalty_last_n=-1,
    dry_sequence_breakers=("\n", ":", '"', "*"),
    logit_bias=(),
)


class Resolved(NamedTuple):
    """All layers merged: what the engine needs. `num_ctx` None: nobody asked for a window."""

    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    num_keep: int
    num_ctx: int | None


class Rule(NamedTuple):
    """What happens to an option: it is read by `parse`, or ignored for a reason."""

    parse: Callable[[str, Any], Any] | None = None
    ignored: str = ""


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f'option "{name}" must be of type integer')
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f'option "{name}" must be a finite number')
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f'option "{name}" must be of type float32')
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequest(f'option "{name}" must be a finite number')
    return number


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f'option "{name}" must be of type boolean')
    return value


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f'option "{name}" must be of type array')
    if not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f'option "{name}" must be of an array of strings')
    stop = tuple(item for item in value if item)
    limits.check_stop(stop)
    return stop


def _biases(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """{"token id": bias}, as OpenAI writes it; `false` bans the token, as in llama.cpp."""
    if not isinstance(value, dict):
        raise InvalidRequest(f'option "{name}" must be of type object')
    limits.check_count("biases", value, limits.MAX_BIASES)
    found = []
    for text, bias in value.items():
        if not text.isascii() or not text.isdigit() or len(text) > limits.MAX_TOKEN_DIGITS:
            raise InvalidRequest(f'option "{name}" must name tokens by their ids')
        number = -math.inf if bias is False else _clamp(_number(name, bias), -1000.0, 1000.0)
        found.append((int(text), number))
    return tuple(found)


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise InvalidRequest(f'option "{name}" must be greater than 0')
    return number


def _mirostat(name: str, value: Any) -> int:
    version = _integer(name, value)
    if version not in (0, 1, 2):
        raise InvalidRequest(f'option "{name}" must be 0, 1 or 2')
    return version


# What llama.cpp has and Ollama has not, under llama.cpp's names.
LLAMA_OPTIONS: dict[str, Rule] = {
    "top_n_sigma": Rule(_number),
    "xtc_probability": Rule(_number),
    "xtc_threshold": Rule(_number),
    "dynatemp_range": Rule(_number),
    "dynatemp_exponent": Rule(_number),
    "dry_multiplier": Rule(_number),
    "dry_base": Rule(_number),
    "dry_allowed_length": Rule(_integer),
    "dry_penalty_last_n": Rule(_integer),
    "dry_sequence_breakers": Rule(_strings),
    "logit_bias": Rule(_biases),
}

_FIXED = "chosen when the server starts; a request never reloads a shared model"
_GONE = "no longer in the inference library; Ollama ignores it too"

# Every documented option -> what it does here.
OLLAMA_OPTIONS: dict[str, Rule] = {
    "num_keep": Rule(_integer),
    "seed": Rule(_integer),
    "num_predict": Rule(_integer),
    "top_k": Rule(_integer),
    "top_p": Rule(_number),
    "min_p": Rule(_number),
    "typical_p": Rule(_number),
    "repeat_last_n": Rule(_integer),
    "temperature": Rule(_number),
    "repeat_penalty": Rule(_positive),
    "presence_penalty": Rule(_number),
    "frequency_penalty": Rule(_number),
    "mirostat": Rule(_mirostat),
    "mirostat_tau": Rule(_number),
    "mirostat_eta": Rule(_number),
    "stop": Rule(_strings),
    "num_ctx": Rule(_integer),
    "ignore_eos": Rule(_boolean),
    "num_batch": Rule(_integer, _FIXED),
    "num_gpu": Rule(_integer, _FIXED),
    "main_gpu": Rule(_integer, _FIXED),
    "num_thread": Rule(_integer, _FIXED),
    "use_mmap": Rule(_boolean, _FIXED),
    "draft_num_predict": Rule(_integer, _FIXED),
    "use_mlock": Rule(ignored=_FIXED),
    "numa": Rule(ignored=_FIXED),
    "low_vram": Rule(ignored=_FIXED),
    "f16_kv": Rule(ignored=_FIXED),
    "vocab_only": Rule(ignored=_FIXED),
    "logits_all": Rule(ignored=_FIXED),
    "embedding_only": Rule(ignored=_FIXED),
    "num_gqa": Rule(ignored=_FIXED),
    "rope_frequency_base": Rule(ignored=_FIXED),
    "rope_frequency_scale": Rule(ignored=_FIXED),
    "tfs_z": Rule(ignored=_GONE),
    "penalize_newline": Rule(ignored=_GONE),
}


_RULES = OLLAMA_OPTIONS | LLAMA_OPTIONS


def parse_ollama(values: Mapping[str, Any]) -> tuple[Options, list[str]]:
    """The options in effect, and the names that nobody knows (accepted, as in Ollama).

    Raises `InvalidRequest` for a value of the wrong type or without meaning.
    """
    limits.check_count("options", values, limits.MAX_OPTIONS)
    found: dict[str, Any] = {}
    for name, rule in _RULES.items():
        value = values.get(name)
        if value is None or rule.parse is None:
            continue
        parsed = rule.parse(name, value)
        if not rule.ignored:
            found[name] = parsed
    return Options(**found), [name for name in values if name not in _RULES]


def resolve(*layers: Options) -> Resolved:
    """Merge the layers, later ones first in rank, on top of the built-in ones."""
    merged: dict[str, Any] = {}
    for layer in (BUILT_IN, *layers):
        values = msgspec.structs.asdict(layer)
        merged |= {name: value for name, value in values.items() if value is not UNSET}
    num_predict, num_ctx = merged["num_predict"], merged.get("num_ctx")
    return Resolved(
        sampling=_sampling(merged),
        max_tokens=None if num_predict < 0 else min(num_predict, _LARGEST),
        stop=merged["stop"],
        num_keep=_clamp(merged["num_keep"], 0, _LARGEST),
        num_ctx=None if num_ctx is None else max(num_ctx, SMALLEST_CONTEXT),
    )


def _sampling(values: Mapping[str, Any]) -> Sampling:
    mirostat: dict[int, Literal[0, 1, 2]] = {0: 0, 1: 1, 2: 2}
    seed, temperature = values["seed"], values["temperature"]
    return Sampling(
        seed=None if seed < 0 else seed % (2**32 - 1),
        temperature=0.0 if temperature < _SMALLEST_TEMPERATURE else min(temperature, 100.0),
        top_k=_clamp(values["top_k"], 0, _LARGEST),
        top_p=_clamp(values["top_p"], 0.0, 1.0),
        min_p=_clamp(values["min_p"], 0.0, 1.0),
        typical_p=_clamp(values["typical_p"], 0.0, 1.0),
        repeat_last_n=_clamp(values["repeat_last_n"], -1, _LARGEST),
        repeat_penalty=_clamp(values["repeat_penalty"], 0.01, 100.0),
        presence_penalty=_clamp(values["presence_penalty"], -100.0, 100.0),
        frequency_penalty=_clamp(values["frequency_penalty"], -100.0, 100.0),
        mirostat=mirostat[values["mirostat"]],
        mirostat_tau=_clamp(values["mirostat_tau"], 0.0, 1000.0),
        mirostat_eta=_clamp(values["mirostat_eta"], 0.0, 1.0),
        ignore_eos=values["ignore_eos"],
        top_n_sigma=_clamp(values["top_n_sigma"], -1.0, 1000.0),
        xtc_probability=_clamp(values["xtc_probability"], 0.0, 1.0),
        xtc_threshold=_clamp(values["xtc_threshold"], 0.0, 1.0),
        dynatemp_range=_clamp(values["dynatemp_range"], 0.0, 100.0),
        dynatemp_exponent=_clamp(values["dynatemp_exponent"], 0.0, 100.0),
        dry_multiplier=_clamp(values["dry_multiplier"], 0.0, 1000.0),
        dry_base=_clamp(values["dry_base"], 1.0, 100.0),
        dry_allowed_length=_clamp(values["dry_allowed_length"], 0, _LARGEST),
        dry_penalty_last_n=_clamp(values["dry_penalty_last_n"], -1, _LARGEST),
        dry_sequence_breakers=values["dry_sequence_breakers"],
        logit_bias=values["logit_bias"],
    )


def _clamp(value: N, least: N, most: N) -> N:
    return max(least, min(value, most))
