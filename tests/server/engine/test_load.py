"""What is chosen when a model is loaded, in a real runner with a tiny model."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from server.engine.config import Attention, CacheType, EngineConfig, Placement
from server.engine.supervisor import Supervisor
from server.engine.types import Piece, Request, Sampling, Segment
from server.errors import LoadFailed
from server.models.model_files import Adapter, ModelFiles
from tests.support.gguf_files import write_model
from tests.support.tiny_llama import WIDTH, write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "tiny.gguf")


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(context=256, parallel=2))
    yield made
    await made.close()


async def say(supervisor: Supervisor, files: ModelFiles | Path) -> tuple[int, ...]:
    """The tokens of a greedy reply."""
    async with supervisor.use(files) as lease:
        tokens = await lease.model.tokenize([Segment("Once upon a time")], add_bos=True)
        request = Request(
            tokens=tokens, sampling=Sampling(temperature=0, ignore_eos=True), max_tokens=12
        )
        events = [event async for event in lease.model.generate(request)]
    return tuple(token for event in events if isinstance(event, Piece) for token in event.tokens)


async def loaded_with(config: EngineConfig, weights: Path) -> tuple[int, ...]:
    """What a model loaded like that says, or the reason that it was not loaded for."""
    supervisor = Supervisor(config)
    try:
        return await say(supervisor, weights)
    finally:
        await supervisor.close()


@pytest.mark.parametrize("kind", get_args(CacheType))
async def test_every_type_of_cache_works(kind: CacheType, weights: Path) -> None:
    attention = Attention(flash="on", keys=kind, values=kind)
    assert len(await loaded_with(EngineConfig(context=256, attention=attention), weights)) == 12


async def test_quantized_values_turn_flash_attention_on_or_are_refused(weights: Path) -> None:
    auto = EngineConfig(context=256, attention=Attention(values="q8_0"))
    assert len(await loaded_with(auto, weights)) == 12
    keys = EngineConfig(context=256, attention=Attention(flash="off", keys="q8_0"))
    assert len(await loaded_with(keys, weights)) == 12
    off = EngineConfig(context=256, attention=Attention(flash="off", values="q8_0"))
    with pytest.raises(LoadFailed, match="values in q8_0 needs flash attention"):
        await loaded_with(off, weights)


@pytest.mark.parametrize(
    "placement",
    [
        Placement(mmap=False),
        Placement(mlock=True),
        Placement(mmap=False, mlock=True),
        Placement(gpu_layers=0, split_mode="none"),
        Placement(gpu_layers=1, split_mode="row", tensor_split=(3.0, 1.0)),
    ],
)
async def test_where_the_weights_lie_changes_nothing_that_is_said(
    placement: Placement, supervisor: Supervisor, weights: Path
) -> None:
    config = EngineConfig(context=256, parallel=2, placement=placement)
    assert await loaded_with(config, weights) == await say(supervisor, weights)


async def test_threads_and_batches_are_taken(supervisor: Supervisor, weights: Path) -> None:
    config = EngineConfig(
        context=256, parallel=2, threads=1, batch_threads=2, batch=8, micro_batch=4
    )
    assert await loaded_with(config, weights) == await say(supervisor, weights)


async def test_what_only_a_gpu_can_do_is_said_to_do_nothing(
    weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    placement = Placement(gpu_layers=7, split_mode="row", tensor_split=(3.0, 1.0))
    await loaded_with(EngineConfig(context=256, placement=placement), weights)
    told = [line for line in capfd.readouterr().err.splitlines() if "no GPU" in line]
    assert len(told) == 1
    assert "do nothing: gpu_layers, split_mode, tensor_split" in told[0]
    await loaded_with(EngineConfig(context=256, placement=Placement(gpu_layers=0)), weights)
    assert "no GPU" not in capfd.readouterr().err


async def test_shares_of_more_devices_than_there_can_be(weights: Path) -> None:
    many = EngineConfig(placement=Placement(tensor_split=(1.0,) * 99))
    with pytest.raises(LoadFailed, match="at most"):
        await loaded_with(many, weights)


async def test_a_context_beyond_all_memory_is_said_to_be_one(tmp_path: Path) -> None:
    """Nothing is left running, and the next model loads."""
    supervisor = Supervisor(EngineConfig(context=1 << 30, parallel=256))
    boundless = write_tiny_llama(tmp_path / "boundless.gguf", context=1 << 30)
    try:
        with pytest.raises(LoadFailed, match="context of 256 × 1073741824 tokens does not fit"):
            await say(supervisor, boundless)
        assert supervisor.loaded() == []
        assert await say(supervisor, write_tiny_llama(tmp_path / "small.gguf", context=256))
    finally:
        await supervisor.close()


async def test_an_architecture_that_nobody_knows(supervisor: Supervisor, tmp_path: Path) -> None:
    path = write_model(tmp_path / "odd.gguf", architecture="nonsense")
    with pytest.raises(LoadFailed, match="unknown model architecture: 'nonsense'"):
        await say(supervisor, path)


# -- LoRA adapters


async def test_an_adapter_changes_what_is_said_as_much_as_its_scale(
    supervisor: Supervisor, weights: Path, tmp_path: Path
) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf")
    plain = ModelFiles(weights)
    applied = ModelFiles(weights, (Adapter(lora),))
    nothing = ModelFiles(weights, (Adapter(lora, scale=0.0),))
    said = await asyncio.gather(*(say(supervisor, one) for one in (plain, applied, nothing)))
    assert said[1] != said[0]
    assert said[2] == said[0]
    # The same weights three times, and every adapter a runner of its own.
    assert len({entry.pid for entry in supervisor.loaded()}) == 3


async def test_two_adapters_are_both_applied(
    supervisor: Supervisor, weights: Path, tmp_path: Path
) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf")
    there_and_back = ModelFiles(weights, (Adapter(lora, 1.0), Adapter(lora, -1.0)))
    assert await say(supervisor, there_and_back) == await say(supervisor, weights)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "qwen2"}, "model arch and LoRA arch mismatch"),
        ({"width": WIDTH // 2}, "incorrect shape"),
        ({"kind": "dora"}, "expect adapter.type to be 'lora'"),
    ],
)
async def test_an_adapter_that_does_not_fit(
    supervisor: Supervisor, weights: Path, tmp_path: Path, change: dict[str, str], told: str
) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf", **change)  # type: ignore[arg-type]
    with pytest.raises(LoadFailed, match=f"cannot apply this LoRA adapter: .*{told}"):
        await say(supervisor, ModelFiles(weights, (Adapter(lora),)))


async def test_an_adapter_that_waits_for_certain_tokens(
    supervisor: Supervisor, weights: Path, tmp_path: Path
) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf", invocation=(1, 2))
    with pytest.raises(LoadFailed, match="begins at certain tokens"):
        await say(supervisor, ModelFiles(weights, (Adapter(lora),)))


@pytest.mark.parametrize("size", [0, 10, 600, 2000, None])
async def test_an_adapter_that_is_broken_or_missing(
    supervisor: Supervisor, weights: Path, tmp_path: Path, size: int | None
) -> None:
    lora = tmp_path / "lora.gguf"
    if size is not None:
        lora.write_bytes(write_tiny_lora(tmp_path / "whole.gguf").read_bytes()[:size])
    with pytest.raises(LoadFailed, match="cannot apply this LoRA adapter"):
        await say(supervisor, ModelFiles(weights, (Adapter(lora),)))
