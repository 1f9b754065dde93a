"""What of vLLM's command line an SDL may say on this machine. Pure.

`vllm serve` has hundreds of flags, among them such that run code of a model or read files. Only
those of the tables below are taken, each with a value of its type; a new command line is made
of them. All else is told and left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from toolkit.errors import ConfigError

SERVED_NAME: Final = "--served-model-name"
TENSOR_PARALLEL: Final = "--tensor-parallel-size"
DTYPE: Final = "--dtype"

_MOST_TOKENS: Final = 1 << 24
_WHOLE: Final[Mapping[str, int]] = {  # flag -> the most that can be meant
    "--max-model-len": _MOST_TOKENS,
    "--max-num-batched-tokens": _MOST_TOKENS,
    "--max-num-seqs": 4096,
    "--pipeline-parallel-size": 64,
    TENSOR_PARALLEL: 64,
}
_WORDS: Final[Mapping[str, re.Pattern[str]]] = {
    DTYPE: re.compile("auto|half|float|float16|bfloat16|float32"),
    "--kv-cache-dtype": re.compile(r"auto|bfloat16|fp8(_[a-z0-9]{1,16})?"),
    "--quantization": re.compile(r"[a-z0-9_-]{1,32}"),
    "--reasoning-parser": re.compile(r"[a-z0-9_]{1,32}"),
    "--structured-outputs-config.backend": re.compile(r"auto|guidance|xgrammar|outlines"),
    "--tool-call-parser": re.compile(r"[a-z0-9_]{1,32}"),
    "--gpu-memory-utilization": re.compile(r"0?\.[0-9]{1,4}|1(\.0{1,4})?"),
    SERVED_NAME: re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}"),
}
_SWITCHES: Final = frozenset(
    {
        "--enable-auto-tool-choice",
        "--enable-per-request-metrics",
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",
        "--enable-tokenizer-info-endpoint",
        "--no-enable-prefix-caching",
    }
)
_OURS: Final = frozenset({"--host", "--port"})  # where it listens is the target's business


class Flags(msgspec.Struct, frozen=True):
    """`values` holds each flag with its value, `None` for a switch."""

    model: str
    values: Mapping[str, str | None]
    ignored: tuple[str, ...]


def read_flags(args: Sequence[str]) -> Flags:
    """The model and the known flags of `vllm serve MODEL …`.

    `ConfigError` where no model comes first, or a known flag has a value that it cannot have.
    """
    words = list(args[2:] if tuple(args[:2]) == ("vllm", "serve") else args)
    if not words or words[0].startswith("-"):
        raise ConfigError(
            "the arguments of vLLM do not begin with a model",
            hint="Write them a word each: vllm, serve, MODEL, --max-model-len, 2048 …",
        )
    values: dict[str, str | None] = {}
    left_out = []
    for flag, given in _split(words[1:]):
        if flag == SERVED_NAME and given == words[:1]:
            continue  # the model's own name, or its path: as if nothing were said
        if flag in _WHOLE or flag in _WORDS or flag in _SWITCHES:
            values[flag] = _checked(flag, given)
        elif flag not in _OURS:
            left_out.append(flag)
    return Flags(words[0], values, tuple(left_out))


def _split(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words up to the next; `--flag=value` is the same as two words."""
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("-") or not groups:
            flag, equals, value = word.partition("=")
            groups.append((flag, [value] if equals else []))
        else:
            groups[-1][1].append(word)
    yield from groups


def _checked(flag: str, given: list[str]) -> str | None:
    if flag in _SWITCHES:
        is_ok, value = not given, ""
    else:
        value = given[0] if len(given) == 1 else ""
        is_ok = _is_value(flag, value)
    if not is_ok:
        shown = " ".join(given)[:60]
        raise ConfigError(
            f"{flag} of vLLM cannot be {shown!r}", hint="Write one value of its kind, or none."
        )
    return None if flag in _SWITCHES else value


def _is_value(flag: str, value: str) -> bool:
    if flag in _WORDS:
        return bool(_WORDS[flag].fullmatch(value))
    return bool(re.fullmatch(r"[0-9]{1,9}", value)) and 1 <= int(value) <= _WHOLE[flag]


def as_words(values: Mapping[str, str | None]) -> tuple[str, ...]:
    """Flags as a command line again."""
    return tuple(
        word
        for flag, value in values.items()
        for word in ((flag,) if value is None else (flag, value))
    )
