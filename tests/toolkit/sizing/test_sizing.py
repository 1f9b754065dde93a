"""What to ask for: GPUs, memory, speed, held against arithmetic by hand."""

import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

import toolkit
from server.models.footprint import estimate
from server.models.gguf import read_header
from server.models.shape import Shape
from tests.support import shaped_models as shaped
from tests.support.shaped_models import Dims
from tests.toolkit.sizing.test_subject import LLAMA, write_folder
from toolkit.cli import run
from toolkit.errors import CapacityError, UsageError
from toolkit.gpus import GPUS, find_gpu
from toolkit.sdl import parse
from toolkit.sdl.quantities import exact_size
from toolkit.sizing import fitting
from toolkit.sizing.demand import Ask, Spread, bytes_per_gpu, llama_use
from toolkit.sizing.result import Sizing
from toolkit.sizing.speed import read_bytes
from toolkit.sizing.subject import Subject
from toolkit.sizing.transformers import find_transformers
from toolkit.units import GIB

Output = pytest.CaptureFixture[str]


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """The shape of Llama 3 8B in 8 bits."""
    dims = Dims(4096, 32, 32, 8, 128, 14336, vocab=8000, kind="Q8_0")
    return shaped.write_shaped(tmp_path / "eight.gguf", shaped.llama(dims))


@pytest.fixture
def seventy(tmp_path: Path) -> Path:
    """The shape of Llama 3 70B in 16 bits."""
    config = LLAMA | {
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "intermediate_size": 28672,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }
    return write_folder(tmp_path / "seventy", config, 141_107_412_992)


async def test_llama_cpp_takes_what_the_footprint_says(eight: Path) -> None:
    sizing = await toolkit.size(str(eight), context=4096, parallel=2, on_cpu=True)
    taken = estimate(read_header(eight), llama_use(Ask(context=4096, parallel=2)))
    assert sizing.cache.bytes == taken.cache_bytes == 2 * 4096 * 32 * 2 * 1024 * 2
    assert sizing.cache_per_token.bytes == 32 * 2 * 1024 * 2
    assert sizing.compute.bytes == taken.compute_bytes
    assert taken.total_bytes < sizing.memory.bytes < 1.15 * taken.total_bytes
    assert sizing.memory.bytes % (256 << 20) == 0
    assert sizing.gpu is None and sizing.storage.bytes > eight.stat().st_size
    assert "estimate" in sizing.speed.reason and "÷" in sizing.speed.reason


async def test_every_number_has_its_reason(eight: Path, seventy: Path) -> None:
    for sizing in (
        await toolkit.size(str(eight)),
        await toolkit.size(str(eight), on_cpu=True),
        await toolkit.size(str(seventy), engine="vllm"),
    ):
        told = msgspec.to_builtins(sizing)
        quantities = [value for value in told.values() if isinstance(value, dict)]
        assert len(quantities) >= 9
        assert all(one["reason"] for one in quantities if "reason" in one)
        assert sizing.cpu_reason and sizing.gpu_reason and sizing.prompt_speed


async def test_the_smallest_card_that_has_room(eight: Path) -> None:
    sizing = await toolkit.size(str(eight), gpus=["rtx4060ti", "rtx4090", "h100"])
    found = [(fit.gpu, fit.ram, fit.count) for fit in sizing.gpus]
    assert found[0] == ("rtx4060ti", "16Gi", 1)
    assert ("rtx4060ti", "8Gi", 2) in found and ("h100", "80Gi", 1) in found
    for fit in sizing.gpus:
        assert fit.needed.bytes <= fit.usable < int(fit.ram[:-2]) * GIB
        assert fit.tensor_parallel == 1 and fit.utilization is None


async def test_a_card_is_named_with_its_memory_and_interface(eight: Path) -> None:
    sizing = await toolkit.size(str(eight), gpus=["a100/80Gi", "h100/80Gi/sxm"])
    found = {(fit.gpu, fit.ram, fit.interface) for fit in sizing.gpus}
    assert found == {("a100", "80Gi", "pcie"), ("a100", "80Gi", "sxm"), ("h100", "80Gi", "sxm")}
    with pytest.raises(UsageError, match="no 'a100/81Gi'") as caught:
        await toolkit.size(str(eight), gpus=["a100/81Gi"])
    assert "a100/80Gi/sxm" in caught.value.hint


async def test_one_card_less_has_no_room(seventy: Path) -> None:
    """For every card: with the spread that is chosen it fits, with fewer cards it does not."""
    subject = await find_transformers(str(seventy))
    ask = Ask(engine="vllm", context=8192, parallel=8)
    fits = fitting.fitting(subject, ask, GPUS)
    assert {fit.gpu for fit in fits} >= {"a100", "h100", "h200", "rtx5090"}
    for fit in fits:
        spread = Spread(fit.tensor_parallel, fit.pipeline_parallel)
        assert fit.utilization in (0.9, 0.95)
        assert bytes_per_gpu(subject, ask, spread) <= (fit.utilization or 0) * fit.usable
        assert 64 % fit.tensor_parallel == 0 and fit.count == spread.count <= 8
        if fit.pipeline_parallel == 1 and fit.count > 1:
            half = bytes_per_gpu(subject, ask, Spread(fit.count // 2))
            assert half > 0.95 * fit.usable
        gpu = find_gpu(fit.gpu)
        assert gpu is not None and gpu.can_vllm


async def test_vllm_counts_weights_and_heads_over_the_gpus(seventy: Path) -> None:
    subject = await find_transformers(str(seventy))
    ask = Ask(engine="vllm", context=8192, parallel=4)
    one, four = (bytes_per_gpu(subject, ask, Spread(count)) for count in (1, 4))
    cache = 4 * 8192 * 80 * 2 * 8 * 128 * 2
    assert one - four == pytest.approx(0.75 * (subject.weights_bytes + cache), rel=0.01)
    # Eight heads are no more than eight ways: sixteen GPUs keep as much each.
    small = Ask(engine="vllm", context=8192, parallel=4, kv="fp8")
    saved = bytes_per_gpu(subject, ask, Spread(8)) - bytes_per_gpu(subject, small, Spread(8))
    assert saved == pytest.approx(cache / 8 / 2, rel=0.01)


async def test_heads_that_do_not_divide_are_spread_in_layers(tmp_path: Path) -> None:
    config = LLAMA | {"num_attention_heads": 25, "hidden_size": 3200, "num_hidden_layers": 60}
    folder = write_folder(tmp_path / "odd", config, 60 * 10**9)
    sizing = await toolkit.size(str(folder), engine="vllm", gpus=["rtx4090"])
    fit = sizing.gpu
    assert fit is not None
    assert (fit.count, fit.tensor_parallel, fit.pipeline_parallel) == (5, 5, 1)
    config = config | {"num_attention_heads": 23}
    sizing = await toolkit.size(
        str(write_folder(tmp_path / "prime", config, 60 * 10**9)), engine="vllm", gpus=["rtx4090"]
    )
    assert sizing.gpu is not None
    assert (sizing.gpu.tensor_parallel, sizing.gpu.pipeline_parallel) == (1, sizing.gpu.count)
    assert "--pipeline-parallel-size" in sizing.arguments
    # The template would say as many as there are GPUs, and vLLM takes the one that is said last.
    at = sizing.arguments.index("--tensor-parallel-size")
    assert sizing.arguments[at + 1] == "1"


async def test_what_vllm_is_told(seventy: Path) -> None:
    sizing = await toolkit.size(
        str(seventy), engine="vllm", context=8192, parallel=8, kv="fp8", gpus=["h100"]
    )
    arguments = dict(zip(sizing.arguments[::2], sizing.arguments[1::2], strict=True))
    assert arguments == {
        "--max-model-len": "8192",
        "--max-num-seqs": "8",
        "--gpu-memory-utilization": "0.9",
        "--tensor-parallel-size": "2",  # of those with 94 GiB
        "--kv-cache-dtype": "fp8",
    }
    assert sizing.shm.bytes == 10 * GIB
    assert sizing.memory.bytes > sizing.shm.bytes
    old = await toolkit.size(str(seventy), engine="vllm", gpus=["rtx8000"])
    assert any("--dtype half" in remark for remark in old.remarks)


async def test_a_context_that_is_too_long_says_which_is_not(seventy: Path) -> None:
    async def asked(context: int, kv: str = "f16") -> Sizing:
        found: Sizing = await toolkit.size(
            str(seventy),
            engine="vllm",
            context=context,
            parallel=8,
            kv=kv,
            gpus=["rtx4090"],
        )
        return found

    with pytest.raises(CapacityError) as raised:
        await asked(12288)
    words = raised.value.hint.split()
    assert words[:3] == ["lower", "--context", "to"] and raised.value.exit_code == 5
    assert raised.value.hint.endswith("or use --kv fp8")
    longest = int(words[3])
    assert (await asked(longest)).gpus and (await asked(12288, "fp8")).gpus
    with pytest.raises(CapacityError):
        await asked(longest + 256)
    with pytest.raises(CapacityError) as raised:
        await asked(131072)
    assert raised.value.hint == f"lower --context to {longest}"


async def test_a_model_that_no_machine_holds(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "huge", LLAMA, 5 * 10**12)
    with pytest.raises(CapacityError, match=r"more than 8 × g?b300") as raised:
        await toolkit.size(str(folder), engine="vllm")
    assert "smaller quantization" in raised.value.hint


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ({"gpus": ["rtx-4090"]}, "did you mean rtx4090?"),
        ({"gpus": ["quantum"]}, "rtx4090"),
        ({"kv": "fp8"}, "f16, q8_0, q4_0"),
        ({"kv": "q8_0", "engine": "vllm"}, "f16, fp8"),
        ({"engine": "abacus"}, "llama-cpp"),
        ({"engine": "vllm"}, "user/repo"),
        ({"engine": "vllm", "on_cpu": True}, "--cpu"),
        ({"context": 0}, "4 × 2048"),
        ({"requantize": "q2"}, "q8_0, q4_0"),
    ],
)
async def test_what_cannot_be_meant(eight: Path, asked: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        await toolkit.size(str(eight), **asked)
    assert hint in raised.value.hint


async def test_rewritten_weights_are_stored_twice(eight: Path) -> None:
    plain = await toolkit.size(str(eight), on_cpu=True)
    smaller = await toolkit.size(str(eight), on_cpu=True, requantize="q4_0")
    assert smaller.weights.bytes < 0.6 * plain.weights.bytes
    assert smaller.storage.bytes > plain.storage.bytes + smaller.weights.bytes
    assert "AKASH_LLM_REQUANTIZE=q4_0" in smaller.next
    assert smaller.speed.one > plain.speed.one


def mixture(experts: int, used: int) -> Subject:
    """A model of which nine tenths are experts."""
    shape = Shape(
        architecture="m",
        layers=(),
        width=1,
        heads=1,
        queries=1,
        feed_forward=1,
        vocab=1,
        context=1,
        experts=experts,
        experts_used=used,
    )
    return Subject(
        name="m",
        shape=shape,
        weights_bytes=1000,
        file_bytes=1000,
        parameters=1000,
        precision="Q8_0",
        is_gguf=True,
        expert_bytes=900,
    )


@pytest.mark.parametrize(
    ("experts", "used", "requests", "read"),
    [(8, 2, 1, 325), (8, 2, 2, 493.75), (8, 8, 1, 1000), (0, 0, 1, 1000), (64, 1, 10**6, 1000)],
)
def test_a_step_reads_the_experts_it_uses(
    experts: int, used: int, requests: int, read: float
) -> None:
    assert read_bytes(mixture(experts, used), requests) == pytest.approx(read)


async def test_the_speed_is_the_bandwidth_over_what_is_read(eight: Path) -> None:
    sizing = await toolkit.size(str(eight), context=2048, parallel=4, gpus=["rtx4090"])
    kept = 1024 * sizing.cache_per_token.bytes
    rate = 0.6 * 1008e9
    assert sizing.speed.one == pytest.approx(rate / (sizing.weights.bytes + kept), rel=0.01)
    assert sizing.speed.all == pytest.approx(4 * rate / (sizing.weights.bytes + 4 * kept), rel=0.01)


async def test_a_model_that_only_embeds_has_no_speed(tmp_path: Path) -> None:
    path = shaped.write_shaped(tmp_path / "m.gguf", shaped.both_ways())
    sizing = await toolkit.size(str(path))
    assert sizing.gpu is None and sizing.cache.bytes == 0
    assert sizing.speed.one == sizing.speed.all == 0 and "vectors" in sizing.speed.reason


# -- the command


def test_the_table_ends_with_what_to_type(eight: Path, capsys: Output) -> None:
    assert run(["size", str(eight), "--gpu", "rtx4090", "--gpu", "a100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "Next:"
    assert {"weights", "cache", "memory", "storage", "GPU", "speed"} <= {
        line.split()[0] for line in lines if line.strip()
    }
    command = shlex.split(lines[-1])
    assert command[:3] == ["akash-llm", "sdl", "render"]
    assert all(len(line) < 400 for line in lines)


def test_what_to_type_renders(eight: Path, tmp_path: Path, capsys: Output) -> None:
    """With an image in the place that is left for it, and a key."""
    for more in (
        ["--gpu", "rtx4090", "--gpu", "l40s"],
        ["--cpu", "--kv", "q8_0"],
        ["--engine", "ollama", "--gpu", "rtx4090"],
        ["--engine", "ollama", "--cpu", "--kv", "q8_0"],
    ):
        assert run(["size", str(eight), *more, "--json"]) == 0
        found = msgspec.json.decode(capsys.readouterr().out, type=Sizing)
        assert run(typed(found, tmp_path)) == 0
        rendered = capsys.readouterr().out
        assert ("rtx4090" in rendered) == (found.gpu is not None)
        kept = {"llama-cpp": "AKASH_LLM_CACHE_TYPE_K=q8_0", "ollama": "OLLAMA_KV_CACHE_TYPE=q8_0"}
        assert (kept[found.engine] in rendered) == (found.kv == "q8_0")
        assert ("AKASH_LLM_UPSTREAM=" in rendered) == (found.engine == "ollama")


def typed(sizing: Sizing, folder: Path) -> list[str]:
    """The words of what to type, with an image of that name and a key file in a folder."""
    where = {"REGISTRY": "example.org", "VERSION": "1.0", "api.key": str(folder / "api.key")}
    words = shlex.split(sizing.next)[1:]
    for name, value in where.items():
        words = [word.replace(name, value) for word in words]
    return words


def test_what_to_type_for_vllm_renders(seventy: Path, tmp_path: Path, capsys: Output) -> None:
    assert run(["size", str(seventy), "--engine", "vllm", "--gpu", "h100", "--json"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Sizing)
    assert "--template vllm --image REGISTRY/akash-llm-gateway:VERSION" in found.next
    assert run(typed(found, tmp_path)) == 0
    rendered = capsys.readouterr().out
    assert "AKASH_LLM_ENGINE=vllm" in rendered
    assert "--gpu-memory-utilization" in rendered and "h100" in rendered
    memory = parse(rendered).sdl.profiles.compute["llm"].memory
    assert exact_size(memory) == found.memory.bytes


def test_exit_codes(eight: Path, capsys: Output) -> None:
    assert run(["size", str(eight), "--gpu", "4090"]) == 2
    assert "did you mean rtx4090?" in capsys.readouterr().err
    assert run(["size", str(eight), "--gpu", "gt1030"]) == 5
    assert run(["size", "nowhere.example/a/b"]) == 3
    assert run(["size", str(eight), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1 and told["model"] == str(eight)
