"""Reads the stream of one completion of vLLM: lines in, pieces and the finish out. Pure."""

import time
from collections.abc import Callable
from typing import Final

from server.engine.types import (
    Finish,
    FinishReason,
    Logprob,
    Piece,
    PromptRead,
    Request,
    TokenLogprob,
)
from server.errors import InvalidRequest, ServerError, UpstreamFailed
from server.upstream.vllm_wire import Chunk, Logprobs, Timing, Usage
from server.upstream.vocabulary import Vocabulary

_DATA: Final = b"data:"
_END: Final = b"[DONE]"
DONE: Final = b"data: [DONE]"
# What vLLM ends a reply with when it could not go on.
_BROKEN: Final = ("abort", "error")
_BAD_REQUEST: Final = 400


def data_of(line: bytes) -> bytes | None:
    """What an event of a stream says; None for its end and for comments."""
    if not line.startswith(_DATA):
        return None
    data = line[len(_DATA) :].strip()
    return None if data == _END else data


class CompletionStream:
    """One reply. Feed it every chunk, and tell it the prompt first where it `begins`; then ask
    for the finish."""

    def __init__(
        self,
        request: Request,
        vocabulary: Vocabulary,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._request = request
        self._vocabulary = vocabulary
        self._clock_ns = clock_ns
        self._sent_ns = clock_ns()
        self._first_ns = 0
        self._num_prompt = len(request.tokens)
        self._is_read = request.text is None
        self._num_output = 0
        self._to_hide: list[str] = []
        self._reason: str | None = None
        self._stop_reason: str | int | None = None
        self._usage = Usage()
        self._timing = Timing()

    def begins(self, chunk: Chunk) -> bool:
        """Whether the tokens of a prompt that was sent as text are still to be `told`, now that
        its reply begins."""
        return not self._is_read and bool(chunk.choices)

    def told(self, tokens: list[int]) -> PromptRead:
        """Take what the prompt was read as."""
        self._is_read, self._num_prompt = True, len(tokens)
        return PromptRead(tokens)

    def feed(self, chunk: Chunk) -> Piece | None:
        """What is new. Raises `InvalidRequest` for what vLLM finds wrong only now, such as a
        format that is none, and `UpstreamFailed` for what went wrong there."""
        if chunk.error is not None:
            raise _failure(chunk.error)
        self._usage = chunk.usage or self._usage
        self._timing = chunk.metrics or self._timing
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self._first_ns = self._first_ns or self._clock_ns()
        self._reason = choice.finish_reason or self._reason
        self._stop_reason = choice.stop_reason or self._stop_reason
        tokens = tuple(choice.token_ids or ())
        self._num_output += len(tokens)
        text = self._shown(choice.text, tokens)
        logprobs = self._logprobs(choice.logprobs) if choice.logprobs else ()
        return Piece(text, tokens, logprobs) if text or tokens or logprobs else None

    def finish(self) -> Finish:
        """What it came to. Raises `UpstreamFailed` if the stream has ended before the reply."""
        if self._reason is None or self._reason in _BROKEN:
            raise UpstreamFailed("vLLM broke off its answer")
        now_ns = self._clock_ns()
        queue_ns = _ns(self._timing.queue_time_ms)
        first_ns = _ns(self._timing.time_to_first_token_ms) or (
            (self._first_ns or now_ns) - self._sent_ns
        )
        output_ns = _ns(self._timing.generation_time_ms) or now_ns - (self._first_ns or now_ns)
        details = self._usage.prompt_tokens_details
        is_stop = self._reason == "stop" and isinstance(self._stop_reason, str)
        return Finish(
            reason=_reason(self._reason, is_stop=is_stop),
            stop_string=str(self._stop_reason) if is_stop else None,
            prompt_tokens=self._usage.prompt_tokens or self._num_prompt,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
            output_tokens=self._usage.completion_tokens or self._num_output,
            queue_ns=queue_ns,
            prompt_ns=max(0, first_ns - queue_ns),
            output_ns=output_ns,
        )

    def _shown(self, text: str, tokens: tuple[int, ...]) -> str:
        """The text without control tokens that nobody asked for. It comes a little later than
        its token where it could have become a stop string."""
        if not self._request.markers:
            return text  # vLLM has left them out itself
        hidden = [self._vocabulary.hidden(token) for token in tokens]
        self._to_hide += [own for own in hidden if own and own not in self._request.markers]
        for own in list(self._to_hide):
            if own in text:
                text = text.replace(own, "", 1)
                self._to_hide.remove(own)
        return text

    def _logprobs(self, found: Logprobs) -> tuple[Logprob, ...]:
        most = self._request.top_logprobs or 0
        tops = [*found.top_logprobs, *([None] * len(found.tokens))]
        chosen = zip(found.tokens, found.token_logprobs, tops, strict=False)
        return tuple(_logprob(text, logprob, best or {}, most) for text, logprob, best in chosen)


def _logprob(text: str, logprob: float | None, best: dict[str, float], most: int) -> Logprob:
    top = sorted(best.items(), key=lambda item: -item[1])[:most]
    chosen = _token(text, 0.0 if logprob is None else logprob)
    return Logprob(chosen, tuple(_token(*each) for each in top))


def _token(text: str, logprob: float) -> TokenLogprob:
    return TokenLogprob(text, text.encode(), logprob)


def _reason(said: str, *, is_stop: bool) -> FinishReason:
    if is_stop:
        return FinishReason.STOP_STRING
    return FinishReason.LENGTH if said == "length" else FinishReason.EOS


def _ns(ms: float | None) -> int:
    return max(0, int((ms or 0.0) * 1e6))


def _failure(error: object) -> ServerError:
    """What an error in a stream means. It comes after a status of success, with its own."""
    found = error if isinstance(error, dict) else {"message": error}
    said = " ".join(str(found.get("message")).split())[:500]
    if found.get("code") == _BAD_REQUEST:
        return InvalidRequest(said)
    return UpstreamFailed(f"vLLM failed: {said}")
