"""What the name of a model says of its size, and where an SDL names one.

A guess for a warning, from below: `qwen2.5:7b` has about seven billion parameters, and no
quantization that people use makes them smaller than half a byte each.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Final

from toolkit.sdl.model import Service

# Variables of the model servers that name the model which they get.
_VARIABLES: Final = ("AKASH_LLM_PRELOAD", "LLAMA_ARG_HF_REPO", "MODEL", "MODEL_ID", "MODEL_NAME")
_UPSTREAM: Final = re.compile(r"https?://([^/:@]+)(?::[0-9]+)?(?:/.*)?")
# Images that take it as an argument, by the words in front of it.
_FLAGS: Final = ("--model", "--model-path", "serve")
_PARAMETERS = re.compile(
    r"(?<![\w.])(?:(?P<experts>[0-9]{1,3})x)?(?P<billions>[0-9]{1,4}(?:\.[0-9]{1,3})?)b(?![a-z0-9])",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\s'\"]+")
# Experts share what is not an expert: Mixtral 8x7b has 47 billion parameters, and not 56.
_SHARE_OF_EXPERTS: Final = 0.8
# Transformers' weights have two bytes each, unless their name says a smaller type.
_SMALLER: Final = (
    (re.compile(r"(?<![a-z])(awq|gptq|int4|w4a16|4bit|nf4|fp4|mxfp4|gguf|q[2-5]_)", re.I), 0.5),
    (re.compile(r"(?<![a-z])(fp8|int8|w8a8|8bit|q[68]_)", re.I), 1.0),
)
_BYTES_OF_GGUF: Final = 0.5
_BYTES_OF_TRANSFORMERS: Final = 2.0


def models(service: Service) -> Iterator[str]:
    """The models that a service is told to serve, as far as it says so in a usual way."""
    environment = service.environment
    for name in _VARIABLES:
        yield from environment.get(name, "").split(",")
    words = [
        word
        for item in (*(service.command or ()), *(service.args or ()))
        for word in _WORD.findall(item)
    ]
    for flag, value in itertools.pairwise(words):
        if flag in _FLAGS and not value.startswith("-"):
            yield value
    for word in words:
        flag, equals, value = word.partition("=")
        if equals and flag in _FLAGS:
            yield value


def upstream(service: Service) -> str:
    """The host that has the models which a gateway is told of, in an SDL the name of another
    service; empty for a service that has its models itself."""
    found = _UPSTREAM.fullmatch(service.environment.get("AKASH_LLM_UPSTREAM", ""))
    return found[1] if found else ""


def least_bytes(model: str, *, is_gguf: bool) -> int:
    """The fewest bytes that its weights can have; 0 if the name says nothing."""
    found = _PARAMETERS.search(model.replace("_", "-"))
    if found is None:
        return 0
    experts = int(found["experts"] or 1)
    billions = float(found["billions"]) * (experts * _SHARE_OF_EXPERTS if experts > 1 else 1)
    return int(billions * 10**9 * _bytes_each(model, is_gguf))


def _bytes_each(model: str, is_gguf: bool) -> float:
    if is_gguf:
        return _BYTES_OF_GGUF
    smaller = (size for pattern, size in _SMALLER if pattern.search(model))
    return next(smaller, _BYTES_OF_TRANSFORMERS)
