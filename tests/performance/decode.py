"""Decoding without HTTP: `python -m tests.performance.decode FILE`, as JSON on one line.

The engine of a runner in this process: `{"8": 130.2}` are the tokens per second of 8
sequences, from the step after which all of them generate.
"""

import itertools
import json
import time
from pathlib import Path

import click

from server.engine.config import EngineConfig
from server.engine.interrupts import Interrupts
from server.engine.llama import LlamaBackend
from server.engine.loop import Loop, make_loop
from server.engine.messages import Abort, Step, Submit
from server.engine.types import Request, Sampling, Segment
from tests.performance.load import prompt_of

_SAMPLING = Sampling(seed=1, temperature=0.8, top_k=40, top_p=0.9, ignore_eos=True)


class Counter:
    """Counts the tokens that a loop publishes, by request."""

    def __init__(self) -> None:
        self.tokens: dict[int, int] = {}

    def publish(self, step: Step) -> None:
        """Take over the news of a step."""
        if step.failed:
            raise RuntimeError(step.failed[0][1].message)
        for request_id, piece in step.pieces:
            self.tokens[request_id] = self.tokens.get(request_id, 0) + len(piece.tokens)


def open_loop(weights: Path, config: EngineConfig, counter: Counter) -> tuple[LlamaBackend, Loop]:
    """What a runner puts together when it loads a model."""
    backend = LlamaBackend(str(weights), config)
    interrupts = Interrupts(backend)
    return backend, make_loop(backend, config, counter.publish, time.monotonic_ns, interrupts)


def tokens_per_s(
    loop: Loop, counter: Counter, prompts: dict[int, list[int]], num_tokens: int
) -> float:
    """Speed of one sequence a prompt, over `num_tokens` steps in which all generate."""
    for request_id, tokens in prompts.items():
        request = Request(tokens=tokens, sampling=_SAMPLING, max_tokens=8 * num_tokens)
        loop.submit(Submit(request_id, request))
    while not prompts.keys() <= counter.tokens.keys():
        loop.step()
    before, begun = sum(counter.tokens.values()), time.perf_counter()
    while sum(counter.tokens.values()) - before < num_tokens * len(prompts):
        loop.step()
    speed = (sum(counter.tokens.values()) - before) / (time.perf_counter() - begun)
    for request_id in prompts:
        loop.abort(Abort(request_id))
    loop.step()
    return speed


@click.command()
@click.argument("weights", type=click.Path(path_type=Path, exists=True))
@click.option("--threads", default=0, show_default=True)
@click.option("--sequences", default="1,8,16", show_default=True)
@click.option("--prompt", default=128, show_default=True, help="Tokens of each prompt.")
@click.option("--tokens", default=64, show_default=True, help="Steps that are measured.")
@click.option("--context", default=1024, show_default=True)
def main(
    weights: Path, threads: int, sequences: str, prompt: int, tokens: int, context: int
) -> None:
    """Measure and print."""
    counts = [int(count) for count in sequences.split(",")]
    config = EngineConfig(context=context, parallel=max(counts), threads=threads)
    counter = Counter()
    backend, loop = open_loop(weights, config, counter)
    ids = itertools.count(1)
    speeds = {}
    for count in counts:
        counter.tokens.clear()
        texts = {request_id: prompt_of(prompt, request_id) for request_id in _take(ids, count)}
        prompts = {
            request_id: backend.tokenize([Segment(text)], add_bos=False)[:prompt]
            for request_id, text in texts.items()
        }
        speeds[str(count)] = tokens_per_s(loop, counter, prompts, tokens)
    click.echo(json.dumps(speeds))


def _take(ids: "itertools.count[int]", count: int) -> list[int]:
    return list(itertools.islice(ids, count))


if __name__ == "__main__":
    main()
