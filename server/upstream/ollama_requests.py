"""What Ollama is asked. Pure: requests of the core in, bodies out."""

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from server.api.options import Resolved
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest, Generation
from server.chat.messages import SYSTEM, Message
from server.engine.types import Grammar
from server.errors import Unsupported

CHAT: Final = "/api/chat"
GENERATE: Final = "/api/generate"
MOST_LOGPROBS: Final = 20

# Fields of `Sampling` that Ollama knows under the same names.
_KNOWN: Final = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
# Versions of long ago know them. Others log a warning, so they are sent only if they are wanted.
_OLD: Final = ("mirostat", "mirostat_tau", "mirostat_eta")
# Fields that make no difference; `mirostat` is one of them in what is Ollama now.
IGNORED_OPTIONS: Final = (
    "dynatemp_range",
    "dynatemp_exponent",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "mirostat",
    "logit_bias",
    "ignore_eos",
)


class Asked(msgspec.Struct, frozen=True):
    """A request for a reply: where it goes, and its body."""

    path: str
    body: dict[str, Any]


def chat(name: str, request: ChatRequest, options: Resolved, *, thinks: bool) -> Asked:
    """A conversation. Ollama itself adds the system text and the messages of its model.

    Only `/api/generate` takes and tells tokens, of one question. `thinks`: the model can;
    Ollama refuses to be told to think for one that cannot. Raises `Unsupported`.
    """
    generation = request.generation
    body = _body(name, generation, options)
    if thinks and request.think is not None:
        body["think"] = request.think
    if request.tells_tokens or request.before is not None:
        return Asked(GENERATE, body | _question(request))
    body["messages"] = [_message(message) for message in request.messages]
    if request.tool_use.shown:
        body["tools"] = [tool.for_template() for tool in request.tool_use.shown]
    return Asked(CHAT, body)


def completion(name: str, request: CompletionRequest, options: Resolved) -> Asked:
    """A text that goes on, or a gap. Raises `Unsupported` for what Ollama would take for
    something else."""
    if not isinstance(request.prompt, str):
        raise Unsupported("Ollama takes texts, no tokens", hint="send the text of the prompt")
    if not request.prompt:
        raise Unsupported("Ollama generates nothing from an empty prompt")
    body = _body(name, request.generation, options) | {"prompt": request.prompt}
    how = {"suffix": request.suffix} if request.suffix else {"raw": True}
    return Asked(GENERATE, body | how)


def embedding(name: str, request: EmbedRequest) -> dict[str, Any]:
    """The body for `/api/embed`. Raises `Unsupported` for tokens."""
    if not all(isinstance(text, str) for text in request.inputs):
        raise Unsupported("Ollama takes texts, no tokens", hint="send the texts themselves")
    body = {
        "model": name,
        "input": list(request.inputs),
        "truncate": request.generation.truncate,
    }
    return body if request.dimensions is None else body | {"dimensions": request.dimensions}


def kept(keep_alive_s: float | None) -> dict[str, Any]:
    """`keep_alive` of a body: seconds, -1 for ever; nothing leaves it as it is."""
    if keep_alive_s is None:
        return {}
    return {"keep_alive": -1 if math.isinf(keep_alive_s) else keep_alive_s}


def options(resolved: Resolved) -> dict[str, Any]:
    """All options that Ollama knows, whatever its own defaults are. The window is never one of
    them: another one than what is loaded makes it load the model again, for everybody.

    No token at all is asked for as one (`num_predict` 0 is without end on one of its paths).
    """
    sampling = resolved.sampling
    names = (*_KNOWN, *(_OLD if sampling.mirostat else ()))
    found: dict[str, Any] = {name: getattr(sampling, name) for name in names}
    found["num_predict"] = -1 if resolved.max_tokens is None else max(1, resolved.max_tokens)
    found["num_keep"] = resolved.num_keep
    if sampling.seed is not None:
        found["seed"] = sampling.seed
    if resolved.stop:
        found["stop"] = list(resolved.stop)
    return found


def _body(name: str, generation: Generation, resolved: Resolved) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": name,
        "stream": True,
        "options": options(resolved),
        "truncate": generation.truncate,
        "shift": generation.shift,
    }
    if generation.format is not None:
        body["format"] = _format(generation.format)
    if generation.top_logprobs is not None:
        if generation.top_logprobs > MOST_LOGPROBS:
            raise Unsupported(f"Ollama tells the {MOST_LOGPROBS} best tokens at most")
        body |= {"logprobs": True, "top_logprobs": generation.top_logprobs}
    return body


def _format(grammar: Grammar) -> Any:
    match grammar.kind:
        case "json":
            return "json"
        case "schema":
            return msgspec.Raw(grammar.text.encode())
    raise Unsupported(
        f"Ollama holds a reply to JSON only, not to a grammar ({grammar.kind})",
        hint="use a JSON schema",
    )


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    optional = {
        "thinking": message.thinking,
        "images": _texts_of(message.images),
        "tool_calls": list(message.tool_calls),
        "tool_name": message.tool_name,
        "tool_call_id": message.tool_call_id,
    }
    return said | {name: value for name, value in optional.items() if value}


def _question(request: ChatRequest) -> dict[str, Any]:
    """A conversation of one question, perhaps with a system text in front."""
    *before, last = request.messages
    said: dict[str, Any] = {"prompt": last.content, "images": _texts_of(last.images)}
    said["system"] = "\n\n".join(each.content for each in before if each.role == SYSTEM)
    said["context"] = list(request.before or ())
    return {name: value for name, value in said.items() if value or name == "prompt"}


def _texts_of(images: Sequence[bytes]) -> list[str]:
    return [b64encode(image).decode() for image in images]
