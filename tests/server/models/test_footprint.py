"""What a model will take, held against the formula by hand."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import pytest

from server.models import footprint
from server.models.footprint import Use
from server.models.gguf import GGUFHeader, read_header
from server.models.shape import read_shape
from tests.support import shaped_models as shaped
from tests.support.gguf_files import write_model
from tests.support.shaped_models import Dims
from tests.support.tiny_llama import CONTEXT, HEADS, LAYERS, WIDTH, write_tiny_llama


def cache_bytes(folder: Path, fields: Mapping[str, object], context: int, parallel: int) -> int:
    """Of a model 64 wide that was trained with 512 tokens."""
    header = read_header(write_model(folder / "m.gguf", fields=fields))
    return footprint.estimate(header, Use(context=context, parallel=parallel)).cache_bytes


def test_the_cache_has_keys_and_values_of_every_layer(tmp_path: Path) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf"))
    estimated = footprint.estimate(header, Use(context=CONTEXT, parallel=3))
    assert HEADS * (WIDTH // HEADS) == WIDTH
    assert estimated.cache_bytes == LAYERS * 2 * WIDTH * 2 * CONTEXT * 3
    assert estimated.weights_bytes == (tmp_path / "tiny.gguf").stat().st_size
    assert estimated.total_bytes > estimated.weights_bytes + estimated.cache_bytes


def test_grouped_heads_and_their_lengths(tmp_path: Path) -> None:
    fields = {
        "llama.block_count": 5,
        "llama.attention.head_count": 8,
        "llama.attention.head_count_kv": 2,
    }
    assert cache_bytes(tmp_path, fields, 256, 1) == 5 * 2 * (8 + 8) * 2 * 256
    fields |= {"llama.attention.key_length": 32, "llama.attention.value_length": 16}
    assert cache_bytes(tmp_path, fields, 256, 1) == 5 * 2 * (32 + 16) * 2 * 256


def test_layers_without_a_cache_cost_none(tmp_path: Path) -> None:
    fields = {
        "llama.block_count": 3,
        "llama.attention.head_count": 8,
        "llama.attention.head_count_kv": [2, 0, 4],
    }
    assert cache_bytes(tmp_path, fields, 256, 1) == (2 + 4) * (8 + 8) * 2 * 256


def test_a_window_is_at_most_what_the_model_was_trained_for_and_whole_blocks(
    tmp_path: Path,
) -> None:
    fields = {"llama.block_count": 1, "llama.attention.head_count": 1}
    one = cache_bytes(tmp_path, fields, 1, 1)
    assert one == cache_bytes(tmp_path, fields, 256, 1)
    assert (
        2 * one == cache_bytes(tmp_path, fields, 257, 1) == cache_bytes(tmp_path, fields, 9999, 1)
    )


def test_a_file_that_says_nothing_still_needs_its_bytes(tmp_path: Path) -> None:
    header = read_header(write_model(tmp_path / "m.gguf", architecture="mystery"))
    estimated = footprint.estimate(header, Use(context=2048, parallel=4))
    assert estimated.cache_bytes == 0
    assert estimated.total_bytes > header.file_size


def test_a_pool_is_shared_by_all(tmp_path: Path) -> None:
    fields = {"llama.block_count": 3, "llama.attention.head_count": 1}
    header = read_header(write_model(tmp_path / "m.gguf", fields=fields))
    pooled = footprint.estimate(header, Use(context=512, parallel=8, pool=700))
    assert pooled.cache_bytes == cache_bytes(tmp_path, fields, 256, 3)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("f32", 32), ("f16", 16), ("bf16", 16), ("q8_0", 8.5), ("q5_1", 6), ("q4_0", 4.5)],
)
def test_the_types_of_the_cache(tmp_path: Path, kind: str, bits: float) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf"))

    def estimate(header: GGUFHeader, *, keys: str = "f16", values: str = "f16") -> int:
        use = Use(context=CONTEXT, keys=keys, values=values)
        return footprint.estimate(header, use).cache_bytes

    assert estimate(header, keys=kind) == estimate(header, values=kind)
    assert estimate(header, keys=kind) == estimate(header) * (16 + bits) / 32


def test_a_model_that_only_embeds_reads_one_text_at_a_time(tmp_path: Path) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf", pooling=gguf.PoolingType.MEAN))
    one, four = (footprint.estimate(header, Use(context=512, parallel=n)) for n in (1, 4))
    # One text that is read in pieces, and the next piece.
    assert one.cache_bytes == four.cache_bytes == LAYERS * 2 * WIDTH * 2 * (512 + 256)


def test_more_context_costs_a_windowed_layer_nothing(tmp_path: Path) -> None:
    path = shaped.write_shaped(tmp_path / "m.gguf", shaped.gemma(Dims(layers=6), window=512))
    shape = read_shape(read_header(path))
    short, long = Use(context=4096), Use(context=8192)
    more = footprint.cache_bytes(shape, long) - footprint.cache_bytes(shape, short)
    per_token = footprint.cache_bytes_per_token(shape, long)
    assert more == 4096 * per_token == 4096 * 2 * 4 * 64 * 2  # of the one full layer in six
    everything = Use(context=8192, swa_full=True)
    assert footprint.cache_bytes_per_token(shape, everything) == 6 * per_token


# Architecture, what it says beside its size, and the layers of eight that have a window.
WINDOWS: list[tuple[str, dict[str, object], str]] = [
    ("llama", {"attention.sliding_window": 512}, "........"),
    ("phi3", {"attention.sliding_window": 512}, "........"),
    ("gemma2", {}, "w.w.w.w."),
    ("gemma3", {}, "........"),
    ("gemma3", {"attention.sliding_window": 512}, "wwwww.ww"),
    ("gpt-oss", {"attention.sliding_window": 128}, "w.w.w.w."),
    ("llama4", {}, "www.www."),
    ("llama4", {"attention.sliding_window": 0}, "........"),
    ("smallthinker", {"attention.sliding_window": 64}, ".www.www"),
    ("exaone4", {"attention.sliding_window": 4096}, "........"),
    (
        "gemma4",
        {
            "attention.sliding_window": 512,
            "attention.sliding_window_pattern": [True, True, False] * 2 + [True, True],
        },
        "ww.ww.ww",
    ),
]


@pytest.mark.parametrize(("architecture", "said", "layers"), WINDOWS)
def test_windows_are_those_that_llama_cpp_uses(
    tmp_path: Path, architecture: str, said: Mapping[str, object], layers: str
) -> None:
    common = {"block_count": 8, "attention.head_count": 4}
    fields = {f"{architecture}.{key}": value for key, value in (common | dict(said)).items()}
    path = write_model(tmp_path / "m.gguf", architecture=architecture, fields=fields)
    shape = read_shape(read_header(path))
    assert "".join("w" if layer.is_windowed else "." for layer in shape.layers) == layers


def test_a_hostile_header_has_a_shape_too(tmp_path: Path) -> None:
    fields = {
        "llama.block_count": 4_000_000_000,
        "llama.attention.head_count": 4_000_000_000,
        "llama.attention.head_count_kv": "many",
        "llama.attention.key_length": [1, 2, 3],
        "llama.expert_count": True,
    }
    header = read_header(write_model(tmp_path / "m.gguf", fields=fields))
    assert len(read_shape(header).layers) == 1 << 12
    assert footprint.estimate(header, Use(context=512)).total_bytes > 0
