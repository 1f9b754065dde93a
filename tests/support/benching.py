"""Records, levels and results of benchmarks that never ran, and servers to measure."""

from collections.abc import Callable
from itertools import count
from typing import Any

from tests.support.endpoint import MODEL, Answer, Pause, Received, ScriptedEndpoint, Step
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.result import Result, Subject
from toolkit.bench.summary import marked, summarize
from toolkit.client import Endpoint


def record(index: int = 0, **given: Any) -> RequestRecord:
    """A full answer of three tokens."""
    values: dict[str, Any] = {
        "outcome": Outcome.OK,
        "sent_s": 1.0,
        "first_byte_s": 1.1,
        "first_chunk_s": 1.15,
        "text_s": (1.2, 1.3, 1.5),
        "answer_s": 1.2,
        "last_chunk_s": 1.55,
        "end_s": 1.6,
        "output_tokens": 3,
        "asked_tokens": 3,
        "prompt_tokens": 10,
    }
    return RequestRecord(index=index, **(values | given))


def level(*records: RequestRecord, load: Load | None = None, **given: Any) -> Level:
    """They, under a load of two open requests unless another is given."""
    return Level(load=load or Load(concurrency=2), asked=len(records), records=records, **given)


def result_of(*levels: Level, config: BenchConfig | None = None, **given: Any) -> Result:
    """A whole result of these levels."""
    config = config or BenchConfig()
    values: dict[str, Any] = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "client": "akash-llm 0.1.0",
        "complete": True,
        "subject": Subject(name="test", url="http://127.0.0.1:1", model=MODEL, api="ollama"),
        "config": config,
        "workload_digest": config.workload.digest(),
        "levels": levels,
        "summaries": marked([summarize(one, config) for one in levels]),
    }
    return Result(**(values | given))


def paced(received: Received, *, first_s: float = 0.02, gap_s: float = 0.005) -> Answer:
    """As many tokens as asked for, the first after `first_s`, the others `gap_s` apart."""
    steps: list[Step] = [Pause(first_s)]
    for _ in range(asked(received)):
        steps += ["w ", Pause(gap_s)]
    return Answer(steps)


def asked(received: Received) -> int:
    """How many tokens a request wants, in either API."""
    body = received.body
    wanted = body["max_tokens"] if "max_tokens" in body else body["options"]["num_predict"]
    return int(wanted)


def endpoint_of(server: ScriptedEndpoint, path: str = "") -> Endpoint:
    """Its client."""
    return Endpoint.open(url=server.url + path, model=MODEL, name="test")


def in_turn(*scripts: Callable[[Received], Answer]) -> Callable[[Received], Answer]:
    """One script after the other, over and over."""
    calls = count()

    def script(received: Received) -> Answer:
        return scripts[next(calls) % len(scripts)](received)

    return script
