"""A deterministic backend with set costs: the same runner, loop and scheduler, no model.

Its vocabulary is the 256 bytes and a few control tokens. The reply to a prompt is the
text between the last `⟦` and `⟧` in it, or else the last line of the prompt, said
again. It checks what a real backend would only compute wrongly: every row must extend
its slot without a gap, and every cell must hold the token that the engine believes.
"""

import math
import threading
import time
from collections.abc import Sequence

from server.engine import progress
from server.engine.backend import Decoded, LoadError, RequestError, Row, Sampled
from server.engine.config import EngineConfig
from server.engine.progress import Progress
from server.engine.types import Logprob, ModelInfo, Request, Segment, TokenLogprob

BOS, EOS, IM_START, IM_END = 256, 257, 258, 259
_CONTROL = {BOS: "<s>", EOS: "</s>", IM_START: "<|im_start|>", IM_END: "<|im_end|>"}
VOCAB_SIZE = 260
_LOAD_PARTS = 100

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class FakeBackend:
    """Implements `server.engine.backend.Backend`."""

    def __init__(self, config: EngineConfig, report: Progress = progress.ignore) -> None:
        _pretend_to_load(config.fake.load_s, report)
        self._costs = config.fake
        self._interrupted = threading.Event()
        self._cells: list[list[int]] = [[] for _ in range(config.parallel)]
        self.info = ModelInfo(
            architecture="fake",
            context=config.context,
            context_train=32768,
            parallel=config.parallel,
            vocab_size=VOCAB_SIZE,
            size_bytes=VOCAB_SIZE,
            memory_bytes=config.fake.memory_bytes or config.context * config.parallel,
            bos=_CONTROL[BOS],
            eos=_CONTROL[EOS],
            add_bos=False,
            chat_template=_TEMPLATE,
            control_tokens=tuple(_CONTROL.values()),
            fim=None,
            can_shift=True,
        )

    def tokenize(self, segments: Sequence[Segment], *, add_bos: bool) -> list[int]:
        tokens: list[int] = []
        for segment in segments:
            tokens += _specials(segment.text) if segment.special else segment.text.encode()
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        self.check_tokens(tokens)
        raw = b"".join(_CONTROL[t].encode() if t in _CONTROL else bytes([t]) for t in tokens)
        return raw.decode(errors="replace")

    def check_tokens(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if not 0 <= token < VOCAB_SIZE:
                raise RequestError(f"token {token} is not in the vocabulary of {VOCAB_SIZE}")

    def sampler(self, request: Request) -> "FakeSampler":
        if request.grammar is not None:
            raise RequestError("the fake backend knows no grammars")
        return FakeSampler(self.detokenize(request.tokens), request)

    def decode(self, rows: Sequence[Row]) -> Decoded:
        for row in rows:
            cells = self._cells[row.slot]
            if row.position != len(cells) or len(cells) >= self.info.context:
                return Decoded.REFUSED
            cells.append(row.token)
        if self._interrupted.wait(self._costs.step_s + self._costs.row_s * len(rows)):
            return Decoded.INTERRUPTED
        return Decoded.OK

    def fork(self, source: int, target: int) -> None:
        self._cells[target] = list(self._cells[source])

    def trim(self, slot: int, length: int) -> bool:
        del self._cells[slot][length:]
        return True

    def shift(self, slot: int, keep: int, discard: int) -> None:
        del self._cells[slot][keep : keep + discard]

    def cells(self, slot: int) -> list[int]:
        """What the slot holds, for tests to compare with what the engine believes."""
        return self._cells[slot]

    def interrupt(self) -> None:
        self._interrupted.set()

    def arm(self) -> None:
        self._interrupted.clear()


class FakeSampler:
    """Says its reply byte by byte, then ends; `ignore_eos` starts over instead."""

    def __init__(self, prompt: str, request: Request) -> None:
        self._reply = _reply_to(prompt).encode()
        self._again = request.sampling.ignore_eos
        self._top = request.top_logprobs
        self._said = 0

    def sample(self, row: int) -> Sampled:
        if self._said >= len(self._reply) and not self._again:
            return Sampled(EOS, b"", is_end=True, logprob=None)
        byte = self._reply[self._said % len(self._reply)] if self._reply else ord(".")
        self._said += 1
        return Sampled(byte, bytes([byte]), is_end=False, logprob=self._logprob(byte))

    def close(self) -> None:
        """Nothing to free."""

    def _logprob(self, byte: int) -> Logprob | None:
        if self._top is None:
            return None
        ids = [(byte + i) % 256 for i in range(max(1, self._top))]
        best = tuple(
            TokenLogprob(chr(b), bytes([b]), math.log(2.0 ** -(i + 1))) for i, b in enumerate(ids)
        )
        return Logprob(best[0], best[: self._top])


def _pretend_to_load(load_s: float, report: Progress) -> None:
    for part in range(_LOAD_PARTS if load_s else 0):
        if not report(part / _LOAD_PARTS):
            raise LoadError("the load was given up")
        time.sleep(load_s / _LOAD_PARTS)


def _specials(text: str) -> list[int]:
    """Tokens of text in which control tokens count as such."""
    for token, name in _CONTROL.items():
        if name in text:
            before, after = text.split(name, 1)
            return [*_specials(before), token, *_specials(after)]
    return list(text.encode())


def _reply_to(prompt: str) -> str:
    if "⟦" in prompt:
        return prompt.rpartition("⟦")[2].partition("⟧")[0]
    for name in _CONTROL.values():
        prompt = prompt.replace(name, "\n")
    lines = [line for line in prompt.splitlines() if line and line != "assistant"]
    return lines[-1] if lines else ""
