"""How much memory models may take on this machine, and how much one will take: held against
llama.cpp itself."""

import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from server.engine import memory
from server.engine.config import IMAGE_CACHE_BYTES, Attention, EngineConfig, WeightType
from server.engine.requantizer import Requantizer
from server.models.model_files import Adapter, ModelFiles
from server.models.store import Store
from tests.support import shaped_models as shaped
from tests.support.shaped_models import Dims, Model
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora
from tests.support.tiny_vision import write_tiny_projector

GIB = 1 << 30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the cgroup's limit; the machine has 64 GiB."""
    monkeypatch.setattr(memory, "_CGROUP_V2", tmp_path / "memory.max")
    monkeypatch.setattr(memory, "_CGROUP_V1", tmp_path / "none")
    machine = psutil.virtual_memory()._replace(total=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    return tmp_path / "memory.max"


@pytest.mark.parametrize(
    ("limit", "budget"),
    [
        ("max\n", 64 * GIB - 64 * GIB // 10),
        ("9223372036854771712\n", 64 * GIB - 64 * GIB // 10),
        (f"{2 * GIB}\n", 2 * GIB - GIB // 2),
        (f"{GIB // 2}\n", GIB // 4),
        ("junk", 64 * GIB - 64 * GIB // 10),
    ],
)
def test_the_budget_leaves_a_reserve(cgroup: Path, limit: str, budget: int) -> None:
    cgroup.write_text(limit)
    assert memory.default_budget() == budget


def test_without_a_cgroup_the_machine_counts(cgroup: Path) -> None:
    assert memory.default_budget() == 64 * GIB - 64 * GIB // 10


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFiles:
    return ModelFiles(write_tiny_llama(tmp_path / "tiny.gguf"))


def test_what_a_file_needs(tiny: ModelFiles, tmp_path: Path) -> None:
    config = EngineConfig(context=256, parallel=1)
    assert memory.needed(tiny, config) > tiny.weights.stat().st_size
    tiny.weights.write_bytes(b"no model")
    assert memory.needed(tiny, config) == 0
    assert memory.needed(ModelFiles(tmp_path / "nowhere"), config) == 0


def test_adapters_and_parked_conversations_are_counted(tiny: ModelFiles, tmp_path: Path) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf")
    config = EngineConfig(context=256, parallel=1)
    plain = memory.needed(tiny, config)
    tuned = ModelFiles(tiny.weights, (Adapter(lora), Adapter(lora)))
    assert memory.needed(tuned, config) == plain + 2 * lora.stat().st_size
    parking = msgspec.structs.replace(config, parking_bytes=GIB)
    assert memory.needed(tiny, parking) == plain + GIB
    assert memory.needed(ModelFiles(tiny.weights, (Adapter(tmp_path / "none"),)), config) == 0


def test_a_projector_and_what_is_kept_of_images_are_counted(
    tiny: ModelFiles, tmp_path: Path
) -> None:
    config = EngineConfig(context=256, parallel=1)
    projector = write_tiny_projector(tmp_path / "projector.gguf")
    seeing = msgspec.structs.replace(tiny, projector=projector)
    more = memory.needed(seeing, config) - memory.needed(tiny, config)
    assert more > IMAGE_CACHE_BYTES + projector.stat().st_size
    lost = msgspec.structs.replace(tiny, projector=tmp_path / "none")
    assert memory.needed(lost, config) == 0


def test_a_pool_and_smaller_types_need_less(tiny: ModelFiles) -> None:
    config = EngineConfig(context=512, parallel=8)
    pooled = msgspec.structs.replace(config, pool=1024)
    quantized = msgspec.structs.replace(config, attention=Attention(keys="q8_0", values="q4_0"))
    for other in (pooled, quantized):
        assert memory.needed(tiny, other) < memory.needed(tiny, config)
    # A pool that holds all requests is none.
    assert memory.needed(tiny, msgspec.structs.replace(config, pool=4096)) == memory.needed(
        tiny, config
    )


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
async def test_weights_that_are_rewritten_count_as_they_will_be(
    tiny: ModelFiles, tmp_path: Path, kind: WeightType
) -> None:
    config = EngineConfig(context=256, parallel=1)
    requantizer = Requantizer(tmp_path / "requantized", kind)
    file_bytes = tiny.weights.stat().st_size
    saved = memory.needed(tiny, config) - memory.needed(tiny, config, requantizer=requantizer)
    made = (await requantizer.prepare(tiny)).weights.stat().st_size
    assert 0.99 * made < file_bytes - saved < 1.2 * made
    # Those that are it already stay as they are.
    again = ModelFiles((await requantizer.prepare(tiny)).weights)
    assert memory.needed(again, config, requantizer=requantizer) == memory.needed(again, config)


def resident(path: Path, config: EngineConfig) -> tuple[int, int]:
    """The bytes of a process that has the model in memory and its windows full; how many of
    them are no file's."""
    command = [sys.executable, "-m", "tests.support.filled", str(path)]
    done = subprocess.run(
        [*command, msgspec.json.encode(msgspec.structs.replace(config, threads=1)).decode()],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    whole, anonymous = map(int, done.stdout.split())
    return whole, anonymous


@pytest.mark.parametrize(
    "config",
    [
        EngineConfig(context=256, parallel=2),
        EngineConfig(context=512, pool=512, parallel=2),
    ],
)
def test_it_is_near_what_the_embedded_model_takes(
    embedded_store: Path, config: EngineConfig
) -> None:
    files = Store(embedded_store).get("smollm2:135m").files()
    measured, _ = resident(files.weights, config)
    assert measured <= memory.needed(files, config) < 1.1 * measured


WIDE = Dims(768, 8, 12, 12, 64, 2048)


@pytest.mark.parametrize(
    "model",
    [
        shaped.llama(WIDE),
        shaped.llama(WIDE._replace(kv_heads=3, layers=12)),
        shaped.gemma(WIDE),
        shaped.mixture(Dims(512, 6, 8, 8, 64, used=2, vocab=8000)),
        shaped.latent(Dims(layers=16, feed_forward=3072, heads=4)),
        shaped.recurrent(Dims(768, 24, inner=1536, vocab=8000)),
        shaped.hybrid(Dims(layers=24, feed_forward=2048)),
        shaped.both_ways(Dims(1024, 12, 16, 16, 64, 4096, vocab=16000, context=512)),
        shaped.llama(WIDE, pooling_type=1),
    ],
    ids=lambda model: f"{model.architecture}-{len(model.tensors)}",
)
def test_it_is_near_what_each_shape_takes(tmp_path: Path, model: Model) -> None:
    """A container holds the file's pages and the libraries' too, so all that is resident counts."""
    files = ModelFiles(shaped.write_shaped(tmp_path / "model.gguf", model))
    config = EngineConfig(context=768, parallel=2)
    measured, _ = resident(files.weights, config)
    assert measured <= memory.needed(files, config) < 1.1 * measured


def test_weights_that_are_laid_out_anew_count_once(tmp_path: Path) -> None:
    """llama.cpp copies weights of some types for the processor's wide registers. The pages of
    the file stay until the space is needed, so what is resident is more than what it takes."""
    model = shaped.llama(WIDE._replace(kind="Q4_0", layers=24))
    files = ModelFiles(shaped.write_shaped(tmp_path / "model.gguf", model))
    config = EngineConfig(context=512, parallel=2)
    measured, anonymous = resident(files.weights, config)
    assert anonymous <= memory.needed(files, config) < 1.1 * measured
