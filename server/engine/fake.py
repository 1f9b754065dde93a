"""A deterministic backend with set costs: the same runner, loop and scheduler, no model.

Its vocabulary is the 256 bytes and a few control tokens. The reply to a prompt is the
text between the last `⟦` and `⟧` in it, or else the last line of the prompt, said
again. It checks what a real backend would only compute wrongly: every row must extend
its slot without a gap, every cell must hold the token that the engine believes, and a row
is sampled from only behind the token that was said last.
With a projector it takes images: each has four rows, must be encoded before it is computed, and
reads as `image_text` to whoever says the prompt again.
The embedding of a text depends on all of it; that of `⟦NaN⟧` is none.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence, Sized
from itertools import dropwhile
from typing import cast

import numpy as np
from numpy.typing import NDArray

from server import limits
from server.engine import progress
from server.engine.backend import (
    NO_VISION,
    Decoded,
    EmbedError,
    EmbedShape,
    LoadError,
    Part,
    RequestError,
    Row,
    Sampled,
)
from server.engine.config import EngineConfig
from server.engine.image_tokens import image_spans, image_tokens, is_image, text_tokens
from server.engine.progress import Progress
from server.engine.types import (
    ImageSegment,
    Logprob,
    ModelInfo,
    Request,
    Segment,
    TokenLogprob,
)
from server.errors import ServerError

BOS, EOS, IM_START, IM_END = 256, 257, 258, 259
_CONTROL = {BOS: "<s>", EOS: "</s>", IM_START: "<|im_start|>", IM_END: "<|im_end|>"}
VOCAB_SIZE = 260
IMAGE_ROWS = 4
EMBED_WIDTH = 16
EMBED_SHAPE = EmbedShape(rows=256, lanes=8, can_split=True)
_LOAD_PARTS = 100
_NOT_A_NUMBER = "⟦NaN⟧".encode()

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TOOL_TEMPLATE = "<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n" + _TEMPLATE


class FakeBackend:
    """Implements `server.engine.backend.Backend`."""

    def __init__(
        self,
        config: EngineConfig,
        report: Progress = progress.ignore,
        *,
        has_vision: bool = False,
    ) -> None:
        _pretend_to_load(config.fake.load_s, report)
        self._costs = config.fake
        self._interrupted = threading.Event()
        self.num_slots, self.num_cells = config.num_slots, config.num_cells
        self.can_rewind = True
        self.survives_failure = True
        self._cells: list[list[_Cell]] = [[] for _ in range(config.num_slots)]
        # Split memory, as in llama.cpp: what is copied is known at once, but the next decode
        # copies it, and shifts after that. `_held` is what each slot would compute with.
        self._held: list[list[int]] = [[] for _ in range(config.num_slots)]
        self._pending_copies: list[tuple[int, int]] = []
        self._pending_shifts: set[int] = set()
        self._encoded: set[tuple[int, ...]] = set()
        self._rows: Sequence[Row] = ()
        self._read: dict[int, list[int]] = {}
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
            chat_template=config.fake.chat_template or _TEMPLATE,
            control_tokens=tuple(_CONTROL.values()),
            fim=None,
            can_shift=True,
            text_end=(EOS,),
            tool_template=None if config.fake.chat_template else _TOOL_TEMPLATE,
            has_vision=has_vision,
        )

    def tokenize(self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool) -> list[int]:
        tokens: list[int] = []
        for segment in segments:
            if isinstance(segment, ImageSegment):
                tokens += self._look_at(segment.data)
            else:
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

    def prepare(self, request: Request) -> None:
        if request.grammar is not None:
            time.sleep(self._costs.grammar_s)

    def check_request(self, request: Request) -> None:
        self.check_tokens(text_tokens(request.tokens))
        if request.grammar is not None:
            raise RequestError("the fake backend knows no grammars")

    def sampler(self, request: Request) -> "FakeSampler":
        return FakeSampler(self._with_images(request.tokens), request, self._token_of)

    def has_encoded(self, tokens: Sequence[int]) -> bool:
        return tuple(tokens) in self._encoded

    def encode(self, tokens: Sequence[int], images: Sequence[bytes]) -> None:
        if tuple(tokens) not in {tuple(_tokens_of(image)) for image in images}:
            raise RequestError("an image of the prompt did not come with it")
        time.sleep(self._costs.image_s)
        self._encoded.add(tuple(tokens))

    def decode(self, rows: Sequence[Row]) -> Decoded:
        self._copy_pending()
        if self.num_cells is not None and self.num_used + len(rows) > self.num_cells:
            return Decoded.NO_SPACE
        self._check_images(rows)
        for row in rows:
            cells = self._cells[row.slot]
            if row.position != len(cells) or len(cells) >= self.info.context:
                return Decoded.REFUSED
            cells.append(_Cell(row.token))
            self._hold(row.slot)
        self._rows = rows
        if self._interrupted.wait(self._costs.step_s + self._costs.row_s * len(rows)):
            return Decoded.INTERRUPTED
        return Decoded.OK

    def fork(self, source: int, target: int, length: int) -> bool:
        cells = self._cells[source][:length]
        if self.num_cells is None:
            self._cells[target] = [_Cell(cell.token) for cell in cells]
            self._pending_copies.append((source, target))
        else:
            self._cells[target] = cells
        return True

    def save(self, slot: int) -> list[int] | None:
        if any(target == slot for _, target in self._pending_copies):
            return None
        return self.cells(slot)

    def restore(self, slot: int, state: Sized) -> bool:
        self._cells[slot] = []
        if self.num_cells is not None and self.num_used + len(state) > self.num_cells:
            return False
        self._cells[slot] = [_Cell(token) for token in cast(list[int], state)]
        self._hold(slot)
        return True

    def trim(self, slot: int, length: int) -> bool:
        del self._cells[slot][length:]
        return True

    def shift(self, slot: int, keep: int, discard: int) -> None:
        moved = self._cells[slot][keep + discard :]
        if any(cell in other for other in self._others(slot) for cell in moved):
            raise RuntimeError("shared cells would be shifted for others, too")
        del self._cells[slot][keep : keep + discard]
        self._pending_shifts.add(slot)

    def embed_shape(self) -> EmbedShape:
        return EMBED_SHAPE

    def embed(self, parts: Sequence[Part]) -> list[NDArray[np.float32]] | None:
        rows = sum(len(part.tokens) for part in parts)
        if rows > EMBED_SHAPE.rows or len({part.lane for part in parts}) < len(parts):
            raise EmbedError(f"a batch of {rows} rows in {len(parts)} lanes")
        before, self._read = self._read, {}
        for part in parts:
            known = before.get(part.lane, []) if part.start else []
            if len(known) != part.start:
                raise EmbedError(f"lane {part.lane} holds {len(known)} tokens, not {part.start}")
            self._read[part.lane] = [*known, *part.tokens]
        if self._interrupted.wait(self._costs.step_s + self._costs.row_s * rows):
            return None
        return [vector_of(self._read.pop(part.lane)) for part in parts if part.is_last]

    def cells(self, slot: int) -> list[int]:
        """What the slot holds, for tests to compare with what the engine believes."""
        return [cell.token for cell in self._cells[slot]]

    @property
    def num_used(self) -> int:
        """Cells that some slot refers to."""
        return len({cell for cells in self._cells for cell in cells})

    def interrupt(self) -> None:
        self._interrupted.set()

    def arm(self) -> None:
        self._interrupted.clear()

    def _look_at(self, data: bytes) -> list[int]:
        if not self.info.has_vision:
            raise RequestError(NO_VISION)
        try:
            limits.check_images([data])
        except ServerError as error:
            raise RequestError(error.message) from None
        return _tokens_of(data)

    def _with_images(self, tokens: Sequence[int]) -> str:
        """The text of a prompt, with what stands for its images."""
        parts, at = [], 0
        for start, stop in image_spans(tokens):
            parts += [self.detokenize(tokens[at:start]), _text_of(tokens[start])]
            at = stop
        return "".join([*parts, self.detokenize(tokens[at:])])

    def _check_images(self, rows: Sequence[Row]) -> None:
        """There is one image at most, whole, encoded, behind all text and alone in its slot."""
        image = list(dropwhile(lambda row: not is_image(row.token), rows))
        if not image:
            return
        if tuple(row.token for row in image) not in self._encoded:
            raise RuntimeError("what is computed is not just one image that was encoded")
        if sum(row.slot == image[0].slot for row in rows) > len(image):
            raise RuntimeError("a slot has text and an image")

    def _hold(self, slot: int) -> None:
        self._held[slot] = self.cells(slot)

    def _copy_pending(self) -> None:
        for source, target in self._pending_copies:
            self._held[target] = list(self._held[source])
        self._pending_copies.clear()
        for slot in self._pending_shifts:
            self._hold(slot)
        self._pending_shifts.clear()
        for slot, held in enumerate(self._held):
            known = self.cells(slot)
            if self.num_cells is None and held[: len(known)] != known:
                raise RuntimeError(f"slot {slot} would compute with what is not its own")

    def _others(self, slot: int) -> list[set["_Cell"]]:
        return [set(cells) for number, cells in enumerate(self._cells) if number != slot]

    def _token_of(self, row: int) -> int:
        """The token of a row of the last batch that is sampled from."""
        found = self._rows[row]
        if not found.wants_logits:
            raise RuntimeError(f"row {row} has no logits")
        return found.token


class _Cell:
    """One cell; two slots that share it refer to the same one."""

    def __init__(self, token: int) -> None:
        self.token = token


class FakeSampler:
    """Says its reply byte by byte, then ends; `ignore_eos` starts over instead."""

    def __init__(self, prompt: str, request: Request, token_of: Callable[[int], int]) -> None:
        self._reply = _reply_to(prompt).encode()
        self._token_of = token_of
        self._last = request.tokens[-1]
        self._again = request.sampling.ignore_eos
        self._top = request.top_logprobs
        self._said = 0

    def sample(self, row: int) -> Sampled:
        if self._token_of(row) != self._last:
            raise RuntimeError("the row is not that of the last token")
        if self._said >= len(self._reply) and not self._again:
            return Sampled(EOS, b"", is_end=True, logprob=None)
        byte = self._reply[self._said % len(self._reply)] if self._reply else ord(".")
        self._said += 1
        self._last = byte
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


def image_text(data: bytes) -> str:
    """What a reply says for an image of the prompt, for tests to compare with."""
    return _text_of(_tokens_of(data)[0])


def _tokens_of(data: bytes) -> list[int]:
    return image_tokens(data, IMAGE_ROWS, IMAGE_ROWS)


def _text_of(first: int) -> str:
    return f"[image {-first & 0xFFFFFFFF:08x}]"


def vector_of(tokens: Sequence[int]) -> NDArray[np.float32]:
    """The embedding of a text before it is scaled, for tests to compare with."""
    raw = bytes(token for token in tokens if token < BOS)
    value = math.nan if raw == _NOT_A_NUMBER else 1.0
    random = np.random.default_rng([len(tokens), *tokens])
    return (random.standard_normal(EMBED_WIDTH) * value).astype(np.float32)


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
