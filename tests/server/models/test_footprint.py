"""What a model will take, held against the formula by hand."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import pytest

from server.models import footprint
from server.models.gguf import GGUFHeader, read_header
from tests.support.gguf_files import write_model
from tests.support.tiny_llama import CONTEXT, HEADS, LAYERS, WIDTH, write_tiny_llama


def cache_bytes(folder: Path, fields: Mapping[str, object], context: int, parallel: int) -> int:
    """Of a model 64 wide that was trained with 512 tokens."""
    header = read_header(write_model(folder / "m.gguf", fields=fields))
    return footprint.estimate(header, context=context, parallel=parallel).cache_bytes


def test_the_cache_has_keys_and_values_of_every_layer(tmp_path: Path) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf"))
    estimated = footprint.estimate(header, context=CONTEXT, parallel=3)
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
    estimated = footprint.estimate(header, context=2048, parallel=4)
    assert estimated.cache_bytes == 0
    assert estimated.total_bytes > header.file_size


def test_a_pool_is_shared_by_all(tmp_path: Path) -> None:
    fields = {"llama.block_count": 3, "llama.attention.head_count": 1}
    header = read_header(write_model(tmp_path / "m.gguf", fields=fields))
    pooled = footprint.estimate(header, context=512, parallel=8, pool=700)
    assert pooled.cache_bytes == cache_bytes(tmp_path, fields, 256, 3)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("f32", 32), ("f16", 16), ("bf16", 16), ("q8_0", 8.5), ("q5_1", 6), ("q4_0", 4.5)],
)
def test_the_types_of_the_cache(tmp_path: Path, kind: str, bits: float) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf"))

    def estimate(header: GGUFHeader, *, keys: str = "f16", values: str = "f16") -> int:
        estimated = footprint.estimate(
            header, context=CONTEXT, parallel=1, keys=keys, values=values
        )
        return estimated.cache_bytes

    assert estimate(header, keys=kind) == estimate(header, values=kind)
    assert estimate(header, keys=kind) == estimate(header) * (16 + bits) / 32


def test_a_model_that_only_embeds_reads_one_text_at_a_time(tmp_path: Path) -> None:
    header = read_header(write_tiny_llama(tmp_path / "tiny.gguf", pooling=gguf.PoolingType.MEAN))
    one, four = (footprint.estimate(header, context=512, parallel=n) for n in (1, 4))
    assert one.cache_bytes == four.cache_bytes == LAYERS * 2 * WIDTH * 2 * 512
