"""What a model will take, held against what llama.cpp says it allocates for it.

llama.cpp lays out its memory without taking any, so the models are as large as they like.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.engine.config import Attention, EngineConfig
from server.engine.memory import use_of
from server.models import footprint
from server.models.gguf import read_header
from server.models.shape import read_shape
from tests.support import shaped_models as shaped
from tests.support.layouts import Layouts
from tests.support.shaped_models import Dims, Model

ROUNDING = 64 << 10  # llama.cpp says hundredths of a MiB

SHAPES: dict[str, Callable[[], Model]] = {
    "grouped": shaped.llama,
    "wide": lambda: shaped.llama(Dims(2048, 2, 32, 8, 64, 8192, vocab=60000)),
    "narrow": lambda: shaped.llama(Dims(576, 6, 9, 3, 64, 1536, vocab=500)),
    "window of each other layer": lambda: shaped.gemma(version=2, window=4096),
    "window of most layers": shaped.gemma,
    "short windows": lambda: shaped.gemma(Dims(layers=12, kv_heads=1), window=100),
    "experts": shaped.mixture,
    "many experts": lambda: shaped.mixture(
        Dims(2048, 2, 32, 4, 128, experts=128, used=8, expert=768)
    ),
    "latent": shaped.latent,
    "many latent heads": lambda: shaped.latent(Dims(1024, 2, 32)),
    "recurrent": shaped.recurrent,
    "wide and recurrent": lambda: shaped.recurrent(Dims(2048, 2, inner=4096, vocab=500)),
    "hybrid": shaped.hybrid,
    "convolved": shaped.convolved,
}
CONFIGS = [
    EngineConfig(context=512, parallel=1),
    EngineConfig(context=2048, parallel=4),
    EngineConfig(context=9000, parallel=3),
    EngineConfig(context=8192, parallel=4, pool=8192),
    EngineConfig(context=4096, parallel=16, pool=20000),
    EngineConfig(context=4096, parallel=2, attention=Attention(keys="q8_0", values="q8_0")),
    EngineConfig(context=4096, parallel=2, attention=Attention(flash="off")),
    EngineConfig(context=8192, parallel=2, attention=Attention(swa_full=True)),
    EngineConfig(context=2048, parallel=5, micro_batch=128),
    EngineConfig(context=2048, parallel=5, batch=64),
]


@pytest.fixture(scope="module")
def layouts() -> Iterator[Layouts]:
    layouts = Layouts()
    yield layouts
    layouts.close()


@pytest.mark.parametrize("name", SHAPES)
def test_cache_and_buffers_are_those_of_llama_cpp(
    name: str, tmp_path: Path, layouts: Layouts
) -> None:
    path = shaped.write_shaped(tmp_path / "model.gguf", SHAPES[name]())
    header = read_header(path)
    shape = read_shape(header)
    for config, laid in zip(CONFIGS, layouts.of(path, CONFIGS), strict=True):
        use = use_of(config)
        cache = footprint.cache_bytes(shape, use)
        assert abs(cache - laid.cache) < ROUNDING, config
        estimated = footprint.estimate(header, use)
        computed = max(estimated.compute_bytes, estimated.logits_bytes)
        assert laid.compute - ROUNDING < computed < 1.6 * laid.compute + (1 << 20), config
        whole = header.file_size + laid.cache + laid.compute
        assert whole - 2 * ROUNDING < estimated.device_bytes, config


def test_of_models_as_people_use_them_the_whole_is_near(tmp_path: Path, layouts: Layouts) -> None:
    """Sizes of Llama 3 8B, Gemma 3 12B, Qwen 3 30B-A3B, DeepSeek 2 and Granite 4."""
    models = [
        shaped.llama(Dims(4096, 32, 32, 8, 128, 14336, vocab=128256, kind="Q8_0")),
        shaped.gemma(Dims(3840, 48, 16, 8, 256, 15360, vocab=262144, kind="Q4_0"), window=1024),
        shaped.mixture(Dims(2048, 48, 32, 4, 128, 6144, 128, 8, 768, vocab=151936, kind="Q4_0")),
        shaped.latent(Dims(2048, 28, 16, feed_forward=10944, vocab=102400, kind="Q8_0")),
        shaped.hybrid(Dims(2048, 40, 32, 8, 64, 8192, inner=4096, vocab=100352, kind="Q8_0")),
    ]
    configs = [EngineConfig(context=8192, parallel=4), EngineConfig(context=32768, parallel=2)]
    for model in models:
        path = shaped.write_shaped(tmp_path / "model.gguf", model)
        header = read_header(path)
        for config, laid in zip(configs, layouts.of(path, configs), strict=True):
            whole = header.file_size + laid.cache + laid.compute
            estimated = footprint.estimate(header, use_of(config))
            assert whole <= estimated.device_bytes < 1.1 * whole, (model.architecture, config)
