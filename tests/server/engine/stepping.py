"""An engine without a process or a clock: the step loop over the fake backend."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

from server.engine.config import EngineConfig
from server.engine.fake import FakeBackend
from server.engine.interrupts import Interrupts
from server.engine.loop import make_loop
from server.engine.messages import Failure, Step, Submit
from server.engine.types import EngineStats, Finish, ImageSegment, Request, Segment


class Engine:
    """A loop whose reports are collected per request, and whose cells are compared with its
    books after every step."""

    def __init__(self, backend: FakeBackend | None = None, **config: object) -> None:
        options = EngineConfig(backend="fake", **config)  # type: ignore[arg-type]
        self.backend = backend or FakeBackend(options, has_vision=True)
        self.interrupts = Interrupts(self.backend)
        ticks = itertools.count(1)
        self.loop = make_loop(
            self.backend, options, self._publish, lambda: next(ticks), self.interrupts
        )
        self.text: dict[int, str] = defaultdict(str)
        self.tokens: dict[int, int] = defaultdict(int)
        self.finished: dict[int, Finish] = {}
        self.failed: dict[int, Failure] = {}
        self.steps: list[Step] = []

    @property
    def stats(self) -> EngineStats:
        """The counters of the last report."""
        return self.steps[-1].stats

    def submit(self, number: int, prompt: str, **request: object) -> None:
        self.show(number, [prompt], **request)

    def show(self, number: int, parts: Sequence[str | bytes], **request: object) -> None:
        """Submit texts and images."""
        segments = [Segment(one) if isinstance(one, str) else ImageSegment(one) for one in parts]
        tokens = self.backend.tokenize(segments, add_bos=True)
        images = tuple(part for part in parts if isinstance(part, bytes))
        made = Request(tokens=tokens, images=images, **request)  # type: ignore[arg-type]
        self.loop.submit(Submit(number, made))

    def step(self) -> None:
        self.loop.step()
        self.check()

    def check(self) -> None:
        """Books agree with each other and with what the backend holds."""
        self.loop.check_integrity()
        for slot, tokens in self.loop.computed().items():
            assert self.backend.cells(slot) == tokens

    def drain(self, most: int = 10_000) -> None:
        for _ in range(most):
            if self.loop.is_idle:
                self.step()
                return
            self.step()
        raise AssertionError("the engine does not come to an end")

    def _publish(self, step: Step) -> None:
        self.steps.append(step)
        for number, piece in step.pieces:
            self.text[number] += piece.text
            self.tokens[number] += len(piece.tokens)
        self.finished.update(step.finished)
        self.failed.update(step.failed)
