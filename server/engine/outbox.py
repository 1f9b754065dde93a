"""What a step has to say to the HTTP process, collected into one message."""

from collections.abc import Callable

from server.engine.messages import Failure, FailureKind, Step
from server.engine.types import EngineStats, Finish, Logprob, Piece


class Outbox:
    """Collects news of requests; `flush` publishes them if there are any."""

    def __init__(self, publish: Callable[[Step], None]) -> None:
        self._publish = publish
        self._pieces: list[tuple[int, Piece]] = []
        self._finished: list[tuple[int, Finish]] = []
        self._failed: list[tuple[int, Failure]] = []
        # Somebody who looks at the load would see it change.
        self.has_news = False

    def piece(
        self,
        sequence_id: int,
        text: str,
        tokens: tuple[int, ...],
        logprobs: tuple[Logprob, ...] = (),
    ) -> None:
        self._pieces.append((sequence_id, Piece(text, tokens, logprobs)))

    def finish(self, sequence_id: int, finish: Finish) -> None:
        self._finished.append((sequence_id, finish))

    def failure(self, sequence_id: int, kind: FailureKind, message: str) -> None:
        self._failed.append((sequence_id, Failure(kind, message)))

    def flush(self, stats: Callable[[], EngineStats]) -> None:
        """Publish what there is, with the counters of now."""
        if not (self.has_news or self._pieces or self._finished or self._failed):
            return
        step = Step(self._pieces, self._finished, self._failed, stats())
        self._pieces, self._finished, self._failed = [], [], []
        self.has_news = False
        self._publish(step)
