"""Embeddings of real models in real runner processes."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from server.engine.config import EngineConfig, FakeCosts
from server.engine.supervisor import Supervisor
from server.engine.types import (
    EmbedRequest,
    Finish,
    LoadedModel,
    Piece,
    Request,
    Sampling,
    Segment,
)
from server.errors import EngineCrashed, InvalidRequest, LoadFailed, Overloaded
from server.models.name import ModelName
from server.models.store import Store
from tests.support.llama_reference import reference
from tests.support.tiny_bert import CLS, SEP, write_tiny_bert
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_mamba import write_tiny_mamba

Vectors = NDArray[np.float32]
TEXTS = [
    "The cat sat on the mat.",
    "Paris is the capital of France.",
    "a",
    "A cat was sitting on a rug.",
    "In 1492 Columbus sailed across the ocean. " * 20,
]
POOLINGS = [gguf.PoolingType.MEAN, gguf.PoolingType.CLS, gguf.PoolingType.LAST]


@pytest.fixture
def weights(embedded_store: Path) -> Path:
    path, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    return path


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(context=512, parallel=2))
    yield made
    await made.close()


async def tokens_of(model: LoadedModel, texts: Sequence[str]) -> list[list[int]]:
    start, end = model.info.text_start, model.info.text_end
    found = [await model.tokenize([Segment(t, special=False)], add_bos=False) for t in texts]
    return [[*start, *tokens, *end] for tokens in found]


async def embed(
    model: LoadedModel, inputs: Sequence[Sequence[int]], dimensions: int | None = None
) -> Vectors:
    result = await model.embed(EmbedRequest(inputs=inputs, dimensions=dimensions))
    assert result.prompt_tokens == sum(len(tokens) for tokens in inputs)
    return np.array([np.frombuffer(vector, "<f4") for vector in result.vectors])


def cosines(some: Vectors, others: NDArray[np.float32] | NDArray[np.float64]) -> list[float]:
    """Row by row; both have length 1."""
    return [float(a @ b) for a, b in zip(some, others, strict=True)]


async def check(supervisor: Supervisor, path: Path, *, mean: bool = False) -> Vectors:
    """The vectors of `TEXTS`, together, as llama.cpp gives them for each alone."""
    async with supervisor.use(path) as lease:
        inputs = await tokens_of(lease.model, TEXTS)
        inputs = [tokens[:64] for tokens in inputs] if lease.model.info.context == 64 else inputs
        together = await embed(lease.model, inputs)
        alone = np.concatenate([await embed(lease.model, [one]) for one in inputs])
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert min(cosines(together, alone)) > 0.999
    assert min(cosines(together, reference(path, inputs, mean=mean))) > 0.999
    for one, other in itertools.combinations(together, 2):
        assert one @ other < 0.9999, "two texts, one vector"
    return together


async def test_a_generative_model_embeds_with_the_mean(
    supervisor: Supervisor, weights: Path
) -> None:
    vectors = await check(supervisor, weights, mean=True)
    cat, paris, rug = vectors[0], vectors[1], vectors[3]
    assert cat @ rug > cat @ paris


async def test_a_recurrent_model_embeds_too(supervisor: Supervisor, tmp_path: Path) -> None:
    path = write_tiny_mamba(tmp_path / "mamba.gguf")
    async with supervisor.use(path) as lease:
        inputs = [tokens[:512] for tokens in await tokens_of(lease.model, TEXTS)]
        vectors = await embed(lease.model, inputs)
    assert min(cosines(vectors, reference(path, inputs, mean=True))) > 0.999


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda kind: kind.name)
async def test_a_model_that_looks_ahead_pools_as_its_file_says(
    supervisor: Supervisor, tmp_path: Path, pooling: gguf.PoolingType
) -> None:
    await check(supervisor, write_tiny_bert(tmp_path / "bert.gguf", pooling=pooling))


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda kind: kind.name)
async def test_a_causal_model_pools_as_its_file_says(
    supervisor: Supervisor, tmp_path: Path, pooling: gguf.PoolingType
) -> None:
    path = write_tiny_llama(tmp_path / "llama.gguf", pooling=pooling)
    async with supervisor.use(path) as lease:
        info = lease.model.info
        assert (info.text_start, info.text_end, info.can_generate) == ((), (257,), False)
        inputs = [tokens[:512] for tokens in await tokens_of(lease.model, TEXTS)]
        assert max(len(tokens) for tokens in inputs) == 512, "more than one batch"
        vectors = await embed(lease.model, inputs)
    assert min(cosines(vectors, reference(path, inputs))) > 0.999


async def test_a_model_that_only_embeds(supervisor: Supervisor, tmp_path: Path) -> None:
    async with supervisor.use(write_tiny_bert(tmp_path / "bert.gguf")) as lease:
        info = lease.model.info
        assert (info.architecture, info.context, info.can_generate) == ("bert", 64, False)
        assert (info.text_start, info.text_end) == ((CLS,), (SEP,))
        assert not info.can_shift
        with pytest.raises(InvalidRequest, match="generates no text"):
            async for _ in lease.model.generate(Request(tokens=[CLS, SEP])):
                pass
        assert len(await embed(lease.model, await tokens_of(lease.model, ["still here"]))) == 1


async def test_a_model_that_ranks_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path / "rank.gguf", pooling=gguf.PoolingType.RANK)
    with pytest.raises(LoadFailed, match="ranks texts"):
        async with supervisor.use(path):
            pass


async def test_dimensions(supervisor: Supervisor, weights: Path) -> None:
    async with supervisor.use(weights) as lease:
        inputs = await tokens_of(lease.model, TEXTS[:2])
        whole = await embed(lease.model, inputs)
        cut = await embed(lease.model, inputs, dimensions=64)
    assert whole.shape == (2, 576) and cut.shape == (2, 64)
    for long, short in zip(whole, cut, strict=True):
        assert np.allclose(short, long[:64] / np.linalg.norm(long[:64]), atol=1e-3)


async def test_a_stream_flows_on_while_texts_are_embedded(
    supervisor: Supervisor, weights: Path
) -> None:
    """Neither waits for the other's end, and neither changes what the other says."""
    async with supervisor.use(weights) as lease:
        model = lease.model
        prompt = await model.tokenize([Segment("Once upon a time")], add_bos=True)
        inputs = await tokens_of(model, TEXTS * 4)
        request = Request(
            tokens=prompt,
            sampling=Sampling(temperature=0, ignore_eos=True),
            max_tokens=40,
        )
        embedding: asyncio.Task[Vectors] | None = None
        seen_during = 0
        said: list[str] = []
        async with aclosing(model.generate(request)) as events:
            async for event in events:
                embedding = embedding or asyncio.create_task(embed(model, inputs))
                seen_during += not embedding.done()
                said += [event.text] if isinstance(event, Piece) else []
        assert embedding is not None
        vectors = await embedding
        assert seen_during >= 5
        quiet = await embed(model, inputs)
        alone = [e.text async for e in model.generate(request) if isinstance(e, Piece)]
    assert min(cosines(vectors, quiet)) > 0.999
    assert "".join(said).split()[:4] == "".join(alone).split()[:4]


async def test_requests_that_come_together_get_their_own(
    supervisor: Supervisor, weights: Path
) -> None:
    async with supervisor.use(weights) as lease:
        inputs = await tokens_of(lease.model, TEXTS)
        alone = [await embed(lease.model, [one]) for one in inputs]
        together = await asyncio.gather(*(embed(lease.model, [one]) for one in inputs))
    for one, other in zip(together, alone, strict=True):
        assert min(cosines(one, other)) > 0.999


async def test_a_killed_runner_is_an_error_and_the_next_one_embeds(
    supervisor: Supervisor, weights: Path
) -> None:
    async with supervisor.use(weights) as lease:
        inputs = await tokens_of(lease.model, TEXTS * 20)
        running = asyncio.create_task(embed(lease.model, inputs))
        await asyncio.sleep(0)
        pid = supervisor.loaded()[0].pid
        assert pid is not None and not running.done()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineCrashed):
            await running
    async with supervisor.use(weights) as lease:
        assert len(await embed(lease.model, inputs[:1])) == 1


async def test_the_context_is_made_by_the_first_embedding(
    supervisor: Supervisor, weights: Path
) -> None:
    async with supervisor.use(weights) as lease:
        pid = supervisor.loaded()[0].pid
        assert pid is not None
        before = psutil.Process(pid).memory_info().rss
        await embed(lease.model, await tokens_of(lease.model, TEXTS))
        assert psutil.Process(pid).memory_info().rss > before + 10_000_000


@pytest.fixture
async def slow() -> AsyncIterator[Supervisor]:
    """The fake engine, a second a row: what is not given up takes minutes."""
    made = Supervisor(EngineConfig(backend="fake", queue=2, fake=FakeCosts(row_s=1.0)))
    yield made
    await made.close()


async def test_a_caller_who_leaves_ends_the_work(slow: Supervisor) -> None:
    async with asyncio.timeout(60), slow.use(Path("m")) as lease:
        running = asyncio.create_task(embed(lease.model, [[1] * 200]))
        waiting = asyncio.create_task(embed(lease.model, [[2] * 100, [3] * 100]))
        await lease.model.detokenize([1])  # both have been sent
        for task in (waiting, running):
            task.cancel()
        await asyncio.gather(waiting, running, return_exceptions=True)
        assert len(await embed(lease.model, [[4]])) == 1


async def test_a_full_queue_is_overload() -> None:
    supervisor = Supervisor(EngineConfig(backend="fake", queue=2, fake=FakeCosts(row_s=0.01)))
    async with supervisor.use(Path("m")) as lease:
        # How many of them arrive before the first is at work is for the system to decide.
        tasks = [asyncio.create_task(embed(lease.model, [[1] * 200])) for _ in range(6)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        assert any(isinstance(task.exception(), Overloaded) for task in done)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not all(isinstance(each, Overloaded) for each in ended)
    await supervisor.close()


async def test_an_embedding_does_not_end_with_the_stream_beside_it() -> None:
    """Steps of both in turns over the fake engine: the longer one goes on alone."""
    supervisor = Supervisor(EngineConfig(backend="fake", fake=FakeCosts(step_s=0.001)))
    async with supervisor.use(Path("m")) as lease:
        prompt = await lease.model.tokenize([Segment("⟦abc⟧")], add_bos=True)
        embedding = asyncio.create_task(embed(lease.model, [[n % 256] * 100 for n in range(50)]))
        events = [event async for event in lease.model.generate(Request(tokens=prompt))]
        assert isinstance(events[-1], Finish)
        assert "".join(e.text for e in events if isinstance(e, Piece)) == "abc"
        assert len(await embedding) == 50
    await supervisor.close()
