"""What the replies of chat and completions share: identity, usage, ends, framing."""

import secrets
import time
from typing import Any

import msgspec
from msgspec import UNSET

from server.api import gojson
from server.api.events import Done
from server.api.openai_errors import encode_error
from server.api.openai_objects import (
    CompletionTokensDetails,
    FinishReason,
    PromptTokensDetails,
    Usage,
)
from server.engine.types import FinishReason as EngineReason
from server.errors import ServerError
from server.models.model import Model

LAST = b"data: [DONE]\n\n"
# A comment: clients pass over it, and proxies see that the stream lives.
PING = b": ping\n\n"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What all objects of one reply begin with. `system_fingerprint` changes with the model
    behind the name."""

    id: str
    created: int
    model: str
    system_fingerprint: str

    @classmethod
    def of(cls, prefix: str, asked_name: str, model: Model) -> "Head":
        """A new one. The name is echoed as it was asked for."""
        return cls(
            id=prefix + secrets.token_hex(15)[:29],
            created=int(time.time()),
            model=asked_name,
            system_fingerprint=f"fp_{model.digest[:10]}",
        )

    def fields(self) -> dict[str, Any]:
        """The same as fields of an object."""
        return msgspec.structs.asdict(self)


def sse(payload: Any) -> bytes:
    """An object as an event of the stream."""
    return b"data: " + gojson.encode(payload) + b"\n\n"


def sse_error(error: ServerError) -> bytes:
    """An error in the middle of a stream; nothing comes behind it."""
    return b"data: " + encode_error(error) + b"\n\n"


def finish_reason(done: Done, *, called: FinishReason | None = None) -> FinishReason:
    """Why a reply ended. `called` is the reason where there are calls: a reply that was cut
    is cut all the same."""
    if done.reason is EngineReason.LENGTH:
        return "length"
    return called or "stop"


def left_out(done: Done) -> dict[str, Any]:
    """`truncated` and `shifted`, where something was left out."""
    return {
        "truncated": done.truncated_tokens or UNSET,
        "shifted": done.shifted_tokens or UNSET,
    }


class Tally:
    """The usage of a reply with several choices, `per_prompt` to each prompt."""

    def __init__(self, per_prompt: int) -> None:
        self._per_prompt = per_prompt
        self._prompts: dict[int, Done] = {}
        self._output = 0
        self._thinking = 0
        self._truncated = 0
        self._shifted = 0

    def add(self, index: int, done: Done) -> None:
        """Count one of the choices. Of the choices to one prompt, the one that found the least
        of it computed says what was cached before."""
        self._output += done.output_tokens
        self._thinking += done.thinking_tokens
        self._shifted += done.shifted_tokens
        prompt = index // self._per_prompt
        before = self._prompts.get(prompt)
        if before is None:
            self._truncated += done.truncated_tokens
        if before is None or done.cached_tokens < before.cached_tokens:
            self._prompts[prompt] = done

    def left_out(self) -> dict[str, Any]:
        """As above, of all choices together; what was cut from a prompt counts once."""
        return {"truncated": self._truncated or UNSET, "shifted": self._shifted or UNSET}

    def usage(self) -> Usage:
        """The sum."""
        prompt = sum(done.prompt_tokens for done in self._prompts.values())
        cached = sum(done.cached_tokens for done in self._prompts.values())
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=self._output,
            total_tokens=prompt + self._output,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=self._thinking),
        )
