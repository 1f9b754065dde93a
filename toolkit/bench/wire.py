"""The APIs that can be measured, without I/O: what is sent, and what a line means.

A server may speak several; the same load over another API is another benchmark. Lines
are read as little as can be, since the client's own work delays what it measures.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from toolkit import jsontext
from toolkit.bench.workload import Message
from toolkit.errors import EndpointError

T = TypeVar("T")

APIS = ("ollama", "openai", "openai-completions")


class Piece(msgspec.Struct, frozen=True):
    """What one line of a stream says. `is_chunk`: it is part of the answer, if an empty one."""

    text: str = ""
    thinking: str = ""
    is_chunk: bool = False
    is_done: bool = False
    finish_reason: str = ""
    error: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    load_s: float | None = None
    prompt_s: float | None = None
    output_s: float | None = None


class Terms(msgspec.Struct, frozen=True):
    """What every request of a workload asks for besides its text."""

    seed: int
    ignore_eos: bool = True
    temperature: float = 0.0


class Wire(Protocol):
    """One API."""

    name: str
    path: str

    def body(
        self, model: str, messages: Sequence[Message], tokens: int, terms: Terms
    ) -> dict[str, Any]:
        """The request for `tokens` tokens, as a stream."""

    def read(self, line: bytes) -> Piece | None:
        """What a line says, None if nothing. Raises `EndpointError` for what is no such line."""


class _Content(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _OllamaLine(msgspec.Struct):
    message: _Content | None = None
    done: bool = False
    done_reason: str = ""
    error: Any = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    load_duration: int | None = None


class OllamaWire:
    """`/api/chat`: lines of JSON, the last with counts and times."""

    name = "ollama"
    path = "/api/chat"

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_OllamaLine).decode

    def body(
        self, model: str, messages: Sequence[Message], tokens: int, terms: Terms
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"num_predict": tokens, "temperature": terms.temperature}
        options["seed"] = terms.seed
        if terms.ignore_eos:
            options["ignore_eos"] = True
        return {"model": model, "messages": messages, "stream": True, "options": options}

    def read(self, line: bytes) -> Piece | None:
        try:
            read = _read(self._decode, line)
        except msgspec.DecodeError as error:
            raise _not_its_api(self.name) from error
        said = read.message or _Content()
        return Piece(
            text=said.content or "",
            thinking=said.thinking or "",
            is_chunk=True,
            is_done=read.done,
            finish_reason=read.done_reason,
            error=_error_text(read.error),
            prompt_tokens=read.prompt_eval_count,
            output_tokens=read.eval_count,
            load_s=_seconds(read.load_duration),
            prompt_s=_seconds(read.prompt_eval_duration),
            output_s=_seconds(read.eval_duration),
        )


class _Choice(msgspec.Struct):
    delta: _Content | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class OpenAIWire:
    """`/v1/chat/completions`: server-sent events, usage in the last with no choices."""

    name = "openai"
    _route = "/chat/completions"

    def __init__(self, base: str = "/v1") -> None:
        self.path = base + self._route
        self._decode = msgspec.json.Decoder(_Event).decode

    def body(
        self, model: str, messages: Sequence[Message], tokens: int, terms: Terms
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, **self._said(messages), "max_tokens": tokens}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        body |= {"temperature": terms.temperature, "seed": terms.seed}
        # Not OpenAI's own: vLLM, SGLang and ours know it.
        if terms.ignore_eos:
            body["ignore_eos"] = True
        return body

    def read(self, line: bytes) -> Piece | None:
        if not line.startswith(b"data:"):
            return None
        data = line[5:].strip()
        if data == b"[DONE]":
            return Piece(is_done=True)
        try:
            event = _read(self._decode, data)
        except msgspec.DecodeError as error:
            raise _not_its_api(self.name) from error
        choice = event.choices[0] if event.choices else None
        said = (choice.delta if choice else None) or _Content()
        usage = event.usage or _Usage()
        details = usage.prompt_tokens_details or _Details()
        return Piece(
            text=said.content or (choice.text if choice else None) or "",
            thinking=said.reasoning_content or said.reasoning or "",
            is_chunk=choice is not None,
            finish_reason=(choice.finish_reason if choice else None) or "",
            error=_error_text(event.error),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=details.cached_tokens,
            output_tokens=usage.completion_tokens,
        )

    def _said(self, messages: Sequence[Message]) -> dict[str, Any]:
        return {"messages": messages}


class OpenAICompletionsWire(OpenAIWire):
    """`/v1/completions`: the text as it is, without a chat template."""

    name = "openai-completions"
    _route = "/completions"

    def _said(self, messages: Sequence[Message]) -> dict[str, Any]:
        return {"prompt": "\n".join(message.content for message in messages)}


def wire_of(name: str, base: str = "/v1") -> Wire:
    """The API of that name, one of `APIS`; `base` comes before the paths of OpenAI's."""
    match name:
        case "ollama":
            return OllamaWire()
        case "openai":
            return OpenAIWire(base)
    return OpenAICompletionsWire(base)


def _read(decode: Callable[[bytes], T], line: bytes) -> T:
    """A line by its decoder, which was made once; again where a character is none."""
    try:
        return decode(line)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode(jsontext.mended(line))


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _error_text(error: object) -> str:
    if error is None:
        return ""
    if isinstance(error, dict):
        error = error.get("message", "")
    return str(error) or "The endpoint reported an error without a text."


def _not_its_api(name: str) -> EndpointError:
    return EndpointError(
        f"The answer is not in the API {name}.",
        hint="Give the one that the endpoint has: --api ollama, openai or openai-completions.",
    )
