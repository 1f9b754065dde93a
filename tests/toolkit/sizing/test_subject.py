"""What a model is, wherever it lies: files, the store, folders, Hugging Face."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from server.models.sources import Registries
from server.models.store import Store
from server.models.transformers_config import Config
from tests.support import shaped_models as shaped
from tests.support.gguf_files import write_model
from tests.support.hub_stand_in import REPO, HubStandIn
from tests.support.serving import ROOT
from tests.support.shaped_models import Dims
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_split import write_tiny_split
from toolkit.errors import ConfigError, UsageError
from toolkit.gpus import GPUS
from toolkit.sizing import fitting
from toolkit.sizing.demand import Ask
from toolkit.sizing.subject import find_gguf
from toolkit.sizing.transformers import Weights, find_transformers, from_config

NOWHERE = Registries.parse([])
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 1000,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}


def write_folder(folder: Path, config: Mapping[str, Any], total: int = 10**9) -> Path:
    """A model with its weights in several files."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def safetensors(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """The beginning of a file of half floats, and some of what follows."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + 2 * shape[0] * shape[1]
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + bytes(at)


async def test_a_file_is_counted_tensor_by_tensor(tmp_path: Path) -> None:
    dims = Dims(512, 2, 8, 4, 64, experts=4, used=2, expert=256, kind="Q8_0")
    path = shaped.write_shaped(tmp_path / "m.gguf", shaped.mixture(dims))
    found = await find_gguf(str(path), NOWHERE)
    one_expert_layer = 3 * 4 * 256 * 512 // 32 * 34
    assert found.expert_bytes == 2 * one_expert_layer
    assert found.weights_bytes < found.file_bytes == path.stat().st_size
    assert (found.shape.experts, found.shape.experts_used) == (4, 2)
    assert found.lookup_bytes == 0  # its table is its output as well


async def test_parts_and_models_of_the_store(tmp_path: Path, akash_home: Path) -> None:
    parts = write_tiny_split(tmp_path)
    split = await find_gguf(str(parts[0]), NOWHERE)
    assert split.file_bytes == sum(part.stat().st_size for part in parts)
    whole = write_tiny_llama(tmp_path / "whole.gguf")
    Store(akash_home / "models").add_file("mine", whole)
    stored = await find_gguf("mine", NOWHERE)
    assert stored.weights_bytes == split.weights_bytes
    assert stored.shape == split.shape


async def test_an_unknown_architecture_is_told_from_its_tensors(tmp_path: Path) -> None:
    known = shaped.llama(Dims(layers=3))
    fields = {"context_length": 4096, "embedding_length": 512}
    odd = known._replace(architecture="mystery", fields=fields)
    found = await find_gguf(str(shaped.write_shaped(tmp_path / "m.gguf", odd)), NOWHERE)
    assert [(layer.keys, layer.values) for layer in found.shape.layers] == [(256, 256)] * 3
    assert "mystery" in found.remarks[0] and "on this machine" in found.remarks[1]
    bare = await find_gguf(
        str(write_model(tmp_path / "bare.gguf", architecture="mystery")), NOWHERE
    )
    assert bare.weights_bytes and "nothing is known" in bare.remarks[0]


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("smollm2:135m", UsageError, "akash-llm models pull smollm2:135m"),
        ("not a name", UsageError, "a name looks like"),
        ("elsewhere.example/a/b:c", ConfigError, "--registries"),
        ("hf://nothing", UsageError, "it looks like hf://"),
        ("~nobody/model.gguf", UsageError, "a name looks like"),
    ],
)
async def test_what_is_no_model(
    akash_home: Path, text: str, error: type[Exception], hint: str
) -> None:
    with pytest.raises(error) as raised:
        await find_gguf(text, NOWHERE)
    assert hint in str(raised.value)


async def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(ConfigError, match="version 0"):
        await find_gguf(str(tmp_path / "m.gguf"), NOWHERE)


# Config beside Llama's, and for each layer keys, values, window; the precision.
CONFIGS: list[tuple[dict[str, Any], list[tuple[int, int, bool]], str]] = [
    ({}, [(1024, 1024, False)] * 4, "bfloat16"),
    ({"num_key_value_heads": None}, [(4096, 4096, False)] * 4, "bfloat16"),
    ({"head_dim": 64}, [(512, 512, False)] * 4, "bfloat16"),
    ({"sliding_window": 4096}, [(1024, 1024, True)] * 4, "bfloat16"),
    ({"sliding_window": 4096, "use_sliding_window": False}, [(1024, 1024, False)] * 4, "bfloat16"),
    (
        {"sliding_window": 512, "sliding_window_pattern": 2},
        [(1024, 1024, True), (1024, 1024, False)] * 2,
        "bfloat16",
    ),
    (
        {
            "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "quantization_config": {"quant_method": "fp8"},
        },
        [(1024, 1024, True), (1024, 1024, False)] * 2,
        "fp8",
    ),
    (
        {
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "quantization_config": {"quant_method": "awq", "bits": 4},
        },
        [(576, 0, False)] * 4,
        "awq 4 bits",
    ),
    (
        {"layer_types": ["linear_attention"] * 3 + ["full_attention"]},
        [(0, 0, False)] * 3 + [(1024, 1024, False)],
        "bfloat16",
    ),
]


@pytest.mark.parametrize(("said", "layers", "precision"), CONFIGS)
async def test_configs(
    tmp_path: Path,
    said: dict[str, Any],
    layers: list[tuple[int, int, bool]],
    precision: str,
) -> None:
    for number, config in enumerate((LLAMA | said, {"text_config": LLAMA | said})):
        found = await find_transformers(str(write_folder(tmp_path / str(number), config)))
        told = [(one.keys, one.values, one.is_windowed) for one in found.shape.layers]
        assert told == layers
        assert found.weights_bytes == 10**9
        assert found.precision == precision


async def test_a_single_file_is_read_tensor_by_tensor(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", LLAMA)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").write_bytes(safetensors({"a": (10, 20), "b": (30, 1)}))
    found = await find_transformers(str(folder))
    assert (found.weights_bytes, found.parameters) == (2 * 230, 230)


@pytest.mark.parametrize("text", ["{", "[1]", '{"hidden_size": "wide", "num_hidden_layers": -1}'])
async def test_a_hostile_config(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path / "m", LLAMA)
    (folder / "config.json").write_text(text)
    try:
        found = await find_transformers(str(folder))
    except ConfigError:
        return
    assert found.remarks


NUMBERS = st.none() | st.booleans() | st.integers() | st.integers(0, 1 << 20) | st.text(max_size=3)
KEYS = [*LLAMA, "head_dim", "num_experts", "num_experts_per_tok", "moe_intermediate_size"]
KEYS += ["sliding_window", "sliding_window_pattern", "kv_lora_rank", "layer_types", "text_config"]


@hypothesis.given(st.dictionaries(st.sampled_from(KEYS), NUMBERS | st.lists(NUMBERS, max_size=3)))
@hypothesis.settings(max_examples=60)
def test_any_config_is_sized_or_refused(said: dict[str, Any]) -> None:
    weights = Weights(10**9, 0)
    found = from_config("m", Config(LLAMA | said), weights)
    ask = Ask(engine="vllm")
    fits = fitting.fitting(found, ask, GPUS)
    assert all(fit.needed.bytes <= fit.usable for fit in fits)


def sized(stand_in: HubStandIn, home: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """`akash-llm size` with Hugging Face on loopback: its code, its object, its error."""
    ours = {
        "AKASH_LLM_HOME": str(home),
        "HF_ENDPOINT": stand_in.url,
        "HF_HOME": str(home / "hf"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "size", *arguments, "--json"],
        env={**os.environ, **ours},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_file_of_hugging_face(akash_home: Path, tmp_path: Path) -> None:
    path = shaped.write_shaped(tmp_path / "m.gguf", shaped.llama(Dims(layers=2)))
    with HubStandIn({"Model-F16.gguf": path.read_bytes()}) as stand_in:
        code, found, error = sized(stand_in, akash_home, f"hf://{REPO}/Model-F16.gguf")
    assert code == 0, error
    assert 0 < path.stat().st_size - found["weights"]["bytes"] < 1 << 20
    assert not (akash_home / "models").exists()


def test_a_repository_of_hugging_face(akash_home: Path) -> None:
    config = json.dumps(LLAMA).encode()
    single = safetensors({"model.embed_tokens.weight": (1000, 4096)})
    with HubStandIn({"config.json": config, "model.safetensors": single}) as stand_in:
        code, found, error = sized(stand_in, akash_home, REPO, "--engine", "vllm")
        assert code == 0, error
        assert found["weights"]["bytes"] == 2 * 1000 * 4096
        del stand_in.files["config.json"]
        code, _, error = sized(stand_in, akash_home, REPO, "--engine", "vllm")
    assert code == 2 and "does not exist" in error
