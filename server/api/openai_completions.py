"""/v1/completions: text goes on as it is, without a chat template, as at OpenAI."""

from collections.abc import Sequence

import msgspec
from litestar.types import ASGIApp

from server import limits
from server.api import gojson, openai_fields
from server.api import openai_objects as wire
from server.api.abilities import require
from server.api.choices import run_choices
from server.api.core import Core
from server.api.described import SSE_TYPE
from server.api.events import Delta, Done, Event, OfChoice
from server.api.openai_errors import InvalidField, encode_error
from server.api.openai_formats import output_format
from server.api.openai_inputs import Input, inputs
from server.api.openai_logprobs import finite
from server.api.openai_replies import (
    LAST,
    PING,
    Head,
    Tally,
    finish_reason,
    left_out,
    sse,
    sse_error,
)
from server.api.openai_types import CompletionBody
from server.api.requests import CompletionRequest
from server.api.stream import reply_with_events
from server.caller import Caller
from server.engine.types import Logprob, TokenLogprob
from server.errors import ServerError, Unsupported
from server.models.model import Model

MAX_LOGPROBS = 5


async def complete(core: Core, body: CompletionBody, caller: Caller) -> ASGIApp:
    """Go on with each prompt, `n` times."""
    name = openai_fields.model_name(body.model)
    count = openai_fields.num_choices(body)
    prompts = _prompts(body, count)
    _check_extras(body, count)
    model = await core.find(name, caller)
    require(model, name, "generate", *(["insert"] if body.suffix else []))
    requests = _requests(model, body, prompts, count, caller)
    echoes = await _echoes(core, requests) if body.echo else [""] * len(requests)
    encoder = TextEncoder(
        Head.of("cmpl-", name, model),
        per_prompt=count,
        echoes=echoes,
        with_usage=bool(body.stream_options and body.stream_options.include_usage),
    )
    return reply_with_events(run_choices(core, requests), encoder, stream=bool(body.stream))


def _prompts(body: CompletionBody, count: int) -> tuple[Input, ...]:
    if body.prompt is None:
        raise InvalidField("prompt", "prompt is required")
    prompts = inputs("prompt", body.prompt)
    limits.check_count("prompts", prompts, limits.MAX_REPLIES // count)
    if body.suffix and not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidField("suffix", "suffix needs a prompt of text")
    return prompts


def _check_extras(body: CompletionBody, count: int) -> None:
    """Raise for what the core cannot do, or the fields do not allow."""
    if body.logprobs is not None:
        openai_fields.check_range("logprobs", body.logprobs, 0, MAX_LOGPROBS)
    if body.echo and body.logprobs is not None:
        raise Unsupported("echo with logprobs is not supported: the prompt's are not computed")
    if body.best_of is not None and body.best_of != count:
        raise InvalidField("best_of", "best_of other than n is not supported")


def _requests(
    model: Model, body: CompletionBody, prompts: Sequence[Input], count: int, caller: Caller
) -> list[CompletionRequest]:
    generation = openai_fields.generation(
        body,
        defaults=openai_fields.COMPLETION_DEFAULTS,
        max_tokens=("max_tokens", body.max_tokens),
        form=output_format(body),
        top_logprobs=body.logprobs,
        caller=caller,
    )
    return [
        CompletionRequest(
            model=model,
            prompt=prompt,
            suffix=body.suffix or "",
            generation=openai_fields.with_seed_of(generation, at),
        )
        for prompt in prompts
        for at in range(count)
    ]


async def _echoes(core: Core, requests: Sequence[CompletionRequest]) -> list[str]:
    """The text of each prompt."""
    texts: dict[Input, str] = {}
    for request in requests:
        prompt = request.prompt
        if isinstance(prompt, str):
            texts[prompt] = prompt
        elif prompt not in texts:
            texts[prompt] = await core.detokenize(request.model, prompt, request.generation)
    return [texts[request.prompt] for request in requests]


class _Said:
    """One of the choices: its text so far as a count of characters, and its logprobs' form."""

    def __init__(self, echo: str) -> None:
        self.echo = echo
        self._num_characters = len(echo)

    def take_echo(self) -> str:
        """The prompt, once."""
        echo, self.echo = self.echo, ""
        return echo

    def logprobs(self, found: Sequence[Logprob]) -> wire.TextLogprobs | None:
        """The logprobs of the next tokens."""
        if not found:
            return None
        return wire.TextLogprobs(
            tokens=[_text(one.chosen) for one in found],
            token_logprobs=[finite(one.chosen.logprob) for one in found],
            top_logprobs=[_best(one) for one in found],
            text_offset=[self._offset(one.chosen.raw) for one in found],
        )

    def _offset(self, raw: bytes) -> int:
        """Where the token begins: in the middle of a character, at that character."""
        begun = self._num_characters
        self._num_characters += sum(not _continues(byte) for byte in raw)
        return begun - 1 if raw and _continues(raw[0]) and begun else begun


class TextEncoder:
    """Writes one reply, with `per_prompt` choices to each prompt."""

    stream_type = SSE_TYPE

    def __init__(
        self, head: Head, *, per_prompt: int, echoes: Sequence[str], with_usage: bool
    ) -> None:
        self._head = head
        self._tally = Tally(per_prompt)
        self._said = [_Said(echo) for echo in echoes]
        self._with_usage = with_usage
        self._num_done = 0

    def whole(self, events: list[Event]) -> bytes:
        texts: list[list[str]] = [[said.take_echo()] for said in self._said]
        logprobs: list[list[Logprob]] = [[] for _ in self._said]
        choices = [wire.TextChoice(index=at, text="") for at, _ in enumerate(self._said)]
        for event in events:
            match event:
                case OfChoice(index, Delta() as delta):
                    texts[index].append(delta.text)
                    logprobs[index] += delta.logprobs
                case OfChoice(index, Done() as done):
                    self._tally.add(index, done)
                    choices[index].finish_reason = finish_reason(done)
        for choice in choices:
            choice.text = "".join(texts[choice.index])
            choice.logprobs = self._said[choice.index].logprobs(logprobs[choice.index])
        fields = self._tally.left_out()
        return gojson.encode(self._object(choices, usage=self._tally.usage(), **fields))

    def frame(self, event: Event) -> bytes:
        match event:
            case OfChoice(index, Delta() as delta):
                said = self._said[index]
                choice = wire.TextChoice(
                    index=index,
                    text=said.take_echo() + delta.text,
                    logprobs=said.logprobs(delta.logprobs),
                )
                return self._event([choice])
            case OfChoice(index, Done() as done):
                return self._last(index, done)
            case _:
                return b""

    def heartbeat(self) -> bytes:
        return PING

    def failure(self, error: ServerError) -> bytes:
        return sse_error(error)

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)

    def _last(self, index: int, done: Done) -> bytes:
        """The end of a choice, and behind that of the last one the end of the stream."""
        self._tally.add(index, done)
        self._num_done += 1
        choice = wire.TextChoice(
            index=index, text=self._said[index].take_echo(), finish_reason=finish_reason(done)
        )
        frames = self._event([choice], **left_out(done))
        if self._num_done < len(self._said):
            return frames
        if self._with_usage:
            frames += self._event([], usage=self._tally.usage())
        return frames + LAST

    def _event(self, choices: list[wire.TextChoice], **fields: object) -> bytes:
        if self._with_usage:
            fields.setdefault("usage", None)
        return sse(self._object(choices, **fields))

    def _object(self, choices: list[wire.TextChoice], **fields: object) -> wire.TextCompletion:
        made = wire.TextCompletion(**self._head.fields(), choices=choices)
        return msgspec.structs.replace(made, **fields)


def _best(one: Logprob) -> dict[str, float]:
    """The best tokens, and the chosen one even if it is none of them."""
    return {_text(token): finite(token.logprob) for token in (*one.top, one.chosen)}


def _text(token: TokenLogprob) -> str:
    """The text of a token; half a character is told by its bytes, as OpenAI does."""
    try:
        return token.raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.raw)


def _continues(byte: int) -> bool:
    """Whether a byte of UTF-8 goes on with the character before it."""
    return byte & 0xC0 == 0x80
