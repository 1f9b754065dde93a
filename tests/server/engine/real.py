"""The real engine in this process: a loop over llama.cpp, stepped by the test."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from server.engine.config import EngineConfig
from server.engine.interrupts import Interrupts
from server.engine.llama import LlamaBackend
from server.engine.loop import make_loop
from server.engine.messages import Failure, Step, Submit
from server.engine.types import EngineStats, Finish, ImageSegment, Request, Segment


class RealEngine:
    """A loop over a model; `say` runs requests together until all of them are over."""

    def __init__(self, weights: Path, *, projector: object = "", **config: object) -> None:
        # One thread: it shares the cores with whatever else is tested.
        options = EngineConfig(threads=1, **config)  # type: ignore[arg-type]
        self.backend = LlamaBackend(str(weights), options, projector=str(projector))
        self.loop = make_loop(
            self.backend, options, self._publish, time.monotonic_ns, Interrupts(self.backend)
        )
        self.text: dict[int, str] = defaultdict(str)
        self.said: dict[int, list[int]] = defaultdict(list)
        self.logprobs: dict[int, list[float]] = defaultdict(list)
        self.finished: dict[int, Finish] = {}
        self.failed: dict[int, Failure] = {}
        self.stats = EngineStats()
        self._number = 0

    def submit(self, prompt: str, **request: object) -> int:
        """Queue a request; its number."""
        return self.show([prompt], **request)

    def show(self, parts: Sequence[str | bytes], **request: object) -> int:
        """Queue a request of texts and images; its number."""
        self._number += 1
        segments = [Segment(one) if isinstance(one, str) else ImageSegment(one) for one in parts]
        tokens = self.backend.tokenize(segments, add_bos=True)
        images = tuple(part for part in parts if isinstance(part, bytes))
        made = Request(tokens=tokens, images=images, **request)  # type: ignore[arg-type]
        self.loop.submit(Submit(self._number, made))
        return self._number

    def say(self, *prompts: str, **request: object) -> list[str]:
        """The texts of requests that run together."""
        numbers = [self.submit(prompt, **request) for prompt in prompts]
        self.drain()
        return [self.text[number] for number in numbers]

    def step(self) -> None:
        self.loop.step()
        self.loop.check_integrity()

    def drain(self) -> None:
        while not self.loop.is_idle:
            self.step()
        self.step()

    def _publish(self, step: Step) -> None:
        for number, piece in step.pieces:
            self.text[number] += piece.text
            self.said[number] += piece.tokens
            self.logprobs[number] += [best.logprob for each in piece.logprobs for best in each.top]
        self.finished.update(step.finished)
        self.failed.update(step.failed)
        self.stats = step.stats
