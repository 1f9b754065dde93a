"""How each server is asked for a completion, and how its stream is read.

The same sampling everywhere, each parameter said: no server's own default decides. What
ends a text is ignored, so that every answer has the length that was asked for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

MODEL = "measured"

_TEMPERATURE, _TOP_K, _TOP_P, _MIN_P, _SEED = 0.8, 40, 0.9, 0.0, 1
_EVENT = b"data: {"
_NEVER = -100


class Usage(NamedTuple):
    """What the end of an answer says was read and generated; 0: it does not say."""

    prompt_tokens: int
    output_tokens: int


class Wire(Protocol):
    """A server's own form of a streamed completion. Stateless: a line is all that is seen."""

    path: str

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        """A request that ends after exactly `num_tokens`, whatever the model wants."""

    def has_text(self, line: bytes) -> bool:
        """Whether a line of the stream brings new text."""

    def usage(self, line: bytes, num_tokens: int) -> Usage | None:
        """What was used, if this line is the end of a whole answer. `num_tokens` were asked
        for, and count for a server that says no more than that it ended there."""


class OllamaWire:
    """NDJSON of `/api/generate`."""

    path = "/api/generate"

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        options = {
            "num_predict": num_tokens,
            "ignore_eos": True,
            "temperature": _TEMPERATURE,
            "top_k": _TOP_K,
            "top_p": _TOP_P,
            "min_p": _MIN_P,
            "repeat_penalty": 1.0,
            "seed": _SEED,
        }
        return {"model": MODEL, "prompt": prompt, "raw": True, "options": options}

    def has_text(self, line: bytes) -> bool:
        return line.startswith(b'{"model"') and b'"response":""' not in line

    def usage(self, line: bytes, num_tokens: int) -> Usage | None:
        if b'"done":true' not in line:
            return None
        end = json.loads(line)
        return Usage(end["prompt_eval_count"], end["eval_count"])


class LlamaServerWire:
    """Server-sent events of llama-server's `/completion`. Its prompt cache is left as it is
    by default: on."""

    path = "/completion"

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        return {
            "prompt": prompt,
            "n_predict": num_tokens,
            "stream": True,
            "ignore_eos": True,
            "temperature": _TEMPERATURE,
            "top_k": _TOP_K,
            "top_p": _TOP_P,
            "min_p": _MIN_P,
            "repeat_penalty": 1.0,
            "seed": _SEED,
        }

    def has_text(self, line: bytes) -> bool:
        return line.startswith(_EVENT) and b'"content":""' not in line

    def usage(self, line: bytes, num_tokens: int) -> Usage | None:
        if not line.startswith(_EVENT) or b'"stop":true' not in line:
            return None
        end = json.loads(line[6:])
        return Usage(end["tokens_evaluated"], end["tokens_predicted"])


class VllmWire:
    """OpenAI's `/v1/completions` with what vLLM adds to it."""

    path = "/v1/completions"

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        return {
            "model": MODEL,
            "prompt": prompt,
            "max_tokens": num_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
            "temperature": _TEMPERATURE,
            "top_k": _TOP_K,
            "top_p": _TOP_P,
            "min_p": _MIN_P,
            "seed": _SEED,
        }

    def has_text(self, line: bytes) -> bool:
        return line.startswith(_EVENT) and b'"text":"' in line and b'"text":""' not in line

    def usage(self, line: bytes, num_tokens: int) -> Usage | None:
        if not line.startswith(_EVENT) or b'"usage":{' not in line:
            return None
        used = json.loads(line[6:])["usage"]
        return Usage(used["prompt_tokens"], used["completion_tokens"])


class OpenAIChatWire(VllmWire):
    """OpenAI's `/v1/chat/completions` with what vLLM adds to it: the prompt is what a user says."""

    path = "/v1/chat/completions"

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        body = dict(super().body(prompt, num_tokens))
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        return body

    def has_text(self, line: bytes) -> bool:
        return line.startswith(_EVENT) and b'"content":"' in line and b'"content":""' not in line


class LlamaCppPythonWire:
    """OpenAI's `/v1/completions` as llama-cpp-python serves it: it cannot ignore the end of
    a text, so the tokens that would end it are given no chance."""

    path = "/v1/completions"

    def __init__(self, ends: Sequence[int]) -> None:
        self._bias = {str(token): _NEVER for token in ends}

    def body(self, prompt: str, num_tokens: int) -> Mapping[str, Any]:
        return {
            "prompt": prompt,
            "max_tokens": num_tokens,
            "stream": True,
            "logit_bias": self._bias,
            "temperature": _TEMPERATURE,
            "top_k": _TOP_K,
            "top_p": _TOP_P,
            "min_p": _MIN_P,
            "repeat_penalty": 1.0,
            "seed": _SEED,
        }

    def has_text(self, line: bytes) -> bool:
        return line.startswith(_EVENT) and b'"text":' in line and b'"text": ""' not in line

    def usage(self, line: bytes, num_tokens: int) -> Usage | None:
        if not line.startswith(_EVENT) or b'"length"' not in line:
            return None
        is_end = json.loads(line[6:])["choices"][0]["finish_reason"] == "length"
        return Usage(0, num_tokens) if is_end else None
