"""What a model really takes: `python -m tests.support.filled PATH CONFIG` prints it.

Loads the model as a runner does, gives each request a prompt that nearly fills its window, or
reads a text that fills the window of a model that only embeds. Prints the bytes that are
resident, and those of them that are no file's.
"""

import sys
import time
from pathlib import Path

import msgspec
import psutil

from server.engine.backend import Part
from server.engine.config import EngineConfig
from server.engine.interrupts import Interrupts
from server.engine.llama import LlamaBackend
from server.engine.loop import make_loop
from server.engine.messages import Submit
from server.engine.types import Request, Sampling
from server.models.gguf import read_header

_SAID = 8


def main(path: str, text: str) -> None:
    """Load, fill, measure."""
    config = msgspec.json.decode(text, type=EngineConfig)
    backend = LlamaBackend(path, config)
    vocab = read_header(Path(path)).vocab_size
    tokens = [number * 7919 % vocab for number in range(backend.info.context)]
    if backend.info.can_generate:
        _generate(backend, config, tokens[: -2 * _SAID])
    else:
        _embed(backend, tokens)
    process = psutil.Process()
    # What is no copy of a file: the pages of files can be given back.
    anonymous = sum(one.anonymous for one in process.memory_maps())
    print(process.memory_info().rss, anonymous)


def _generate(backend: LlamaBackend, config: EngineConfig, tokens: list[int]) -> None:
    loop = make_loop(backend, config, lambda _: None, time.monotonic_ns, Interrupts(backend))
    sampling = Sampling(temperature=0, ignore_eos=True)
    for number in range(config.parallel):
        # Another beginning each, so that none is taken from a neighbour.
        mine = [number, *tokens[number + 1 :]]
        request = Request(tokens=mine, sampling=sampling, max_tokens=_SAID)
        loop.submit(Submit(number + 1, request))
    while not loop.is_idle:
        loop.step()


def _embed(backend: LlamaBackend, tokens: list[int]) -> None:
    shape = backend.embed_shape()
    step = shape.rows if shape.can_split else len(tokens)
    for start in range(0, len(tokens), step):
        part = tokens[start : start + step]
        backend.embed([Part(0, start, part, start + step >= len(tokens))])


if __name__ == "__main__":
    main(*sys.argv[1:])
